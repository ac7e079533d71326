"""The built parts of one process: the one place where they are wired together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from celery import Celery
from sqlalchemy import Engine

from app.approval_policy import check_tools
from app.celery_app import make_celery
from app.config import Settings
from app.errors import ConfigError
from app.limits import check_limits
from app.privilege import Login
from app.promises import check_promises
from app.publish import Publisher
from app.safety import DEFAULT_POLICY, Policy, read_policy
from app.selector import Selection, Selector
from app.store.approvals import Approvals
from app.store.artifacts import ArtifactStore
from app.store.credentials import Vault
from app.store.db import make_engine
from app.store.deadletters import DeadLetters
from app.store.decisions import Decisions
from app.store.inventory import Inventory
from app.store.keyring import Keyring
from app.store.ledger import Ledger
from app.store.plans import StoredPlans
from app.store.principals import Principals
from app.store.records import Records
from app.store.roster import RecentOffers, Roster
from app.store.schedules import Schedules
from app.surroundings import Rules
from app.worker_offer import REMEMBERED_S, WorkerOffer
from tool_catalog.loader import Catalog, load_catalog
from tool_catalog.names import UnknownName


@dataclass(frozen=True, slots=True)
class Parts:
    """What front doors, dispatcher, beat and workers are made of."""

    settings: Settings
    #: For transactions: inventory, vault, schedules.
    engine: Engine
    #: For the ledger's functions and for reads: every statement by itself.
    autocommit: Engine
    celery: Celery
    catalog: Catalog
    rules: Rules
    ledger: Ledger
    decisions: Decisions
    dead_letters: DeadLetters
    records: Records
    approvals: Approvals
    publisher: Publisher
    inventory: Inventory
    vault: Vault
    artifacts: ArtifactStore
    principals: Principals
    roster: Roster
    recent_offers: RecentOffers
    schedules: Schedules
    plans: StoredPlans

    def close(self) -> None:
        """Let go of the database connections."""
        self.engine.dispose()
        self.autocommit.dispose()


@dataclass(frozen=True, slots=True)
class FarmView:
    """The surroundings of a plan's check, for one tenant of this farm."""

    parts: Parts
    tenant: str

    def select(self, selector: Selector) -> Selection:
        """The assets that a selector means now."""
        return self.parts.inventory.select(self.tenant, selector)

    def offers(self) -> Sequence[WorkerOffer]:
        """What workers advertised in the last 24 h."""
        return self.parts.recent_offers.read()

    def secret_names(self) -> set[str]:
        """The names of this tenant's secrets."""
        return self.parts.vault.names(self.tenant)

    def logins(self, asset_ids: Collection[int]) -> Mapping[int, Login]:
        """The logins of these assets, without their secrets."""
        return self.parts.vault.logins(self.tenant, asset_ids)


def build_parts(settings: Settings, celery: Celery | None = None, *, pool_size: int = 8) -> Parts:
    """Build everything once for this process; connects to nothing yet.

    Raises ConfigError naming a setting that cannot work, CatalogError a bad tool file.
    """
    engine = make_engine(settings.database_url, pool_size=pool_size)
    autocommit = make_engine(settings.database_url, pool_size=pool_size, autocommit=True)
    celery = celery or make_celery(settings)
    keyring = Keyring.from_settings(settings)
    ledger = Ledger(autocommit)
    roster = Roster(engine)
    catalog = read_catalog(settings)
    return Parts(
        settings=settings,
        engine=engine,
        autocommit=autocommit,
        celery=celery,
        catalog=catalog,
        rules=_make_rules(settings, catalog),
        ledger=ledger,
        decisions=Decisions(autocommit),
        dead_letters=DeadLetters(autocommit),
        records=Records(autocommit),
        approvals=Approvals(autocommit),
        publisher=Publisher(celery, ledger, settings.window),
        inventory=Inventory(engine),
        vault=Vault(engine, keyring),
        artifacts=ArtifactStore(
            engine,
            _artifact_url(settings),
            settings.artifact_retention_days,
            settings.state_dir.resolve() / "artifact-cache",
        ),
        principals=Principals(engine, keyring),
        roster=roster,
        recent_offers=RecentOffers(roster, REMEMBERED_S),
        schedules=Schedules(engine),
        plans=StoredPlans(engine),
    )


def read_catalog(settings: Settings) -> Catalog:
    """Every tool file of this host, and what it says as expressions; raises CatalogError."""
    catalog = load_catalog(settings.tool_path, settings.fallback_domain)
    check_promises(catalog)
    return catalog


def _make_rules(settings: Settings, catalog: Catalog) -> Rules:
    policy = read_policy(settings.policy_file)
    check_policy(policy, catalog, settings)
    return Rules(policy, settings.routing, settings.queue_timeout_s, settings.approval_timeout_s)


def check_policy(policy: Policy, catalog: Catalog, settings: Settings) -> None:
    """Refuse rules about a tool that there is not: they guard nothing. Raises ConfigError."""
    path, key = settings.policy_file or DEFAULT_POLICY, "approval"
    try:
        check_tools(policy.approval, catalog)
        key = "limits"
        check_limits(policy.limits, catalog)
    except UnknownName as error:
        raise ConfigError(f"policy {path}: {key}: {error}; see OPSFARM_POLICY_FILE") from None


def _artifact_url(settings: Settings) -> str:
    return settings.artifact_url or str((settings.state_dir / "artifacts").resolve())
