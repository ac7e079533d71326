"""Settings: the only reader of the environment."""

import socket
from functools import cached_property
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import ConfigError
from queues import Domain, Routing

#: Where the code lies: the farm of a checkout keeps its state beside it.
PROJECT = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Every setting of opsfarm; each is read from `OPSFARM_<NAME>` unless it says otherwise."""

    model_config = SettingsConfigDict(env_prefix="OPSFARM_", extra="ignore", frozen=True)

    #: Where the embedded farm lives: sockets, data, keys, logs, ports.
    state_dir: Path = Path(".opsfarm")
    database_url: str = Field(
        default="", validation_alias=AliasChoices("OPSFARM_DATABASE_URL", "DATABASE_URL")
    )
    broker_url: str = ""
    #: Address and key that the client and the CLI use; else those of the embedded farm.
    api_url: str = ""
    api_key: SecretStr = SecretStr("")
    #: A file that holds the key; OPSFARM_API_KEY wins.
    api_key_file: Path | None = None
    api_host: str = "127.0.0.1"
    api_port: int = 8700

    tenant: str = "default"
    host: str = Field(default_factory=socket.gethostname)
    queue_prefix: str = ""
    #: JSON, e.g. {"automation": "ops"}: another queue name for a domain.
    queue_overrides: dict[str, str] = Field(default_factory=dict)
    fallback_domain: Domain = Domain.AUTOMATION
    #: Folders with a site's own tools, separated by ":".
    tool_path: str = ""
    policy_file: Path | None = None
    #: How long an approval stays open; a plan may ask for less.
    approval_timeout_s: float = 86400

    #: 32 bytes, base64: seals secrets. Or a file that holds it.
    secret_key: SecretStr = SecretStr("")
    secret_key_file: Path | None = None
    artifact_url: str = ""
    artifact_retention_days: int = 30
    retention_days: int = 90

    #: Celery events for Flower; cost a few broker commands a step.
    events: bool = False
    remote_control: bool = False
    log_level: str = "INFO"
    log_format: str = "json"

    slots: int = 8
    heartbeat_s: float = 5
    self_kill_s: float = 20
    reap_s: float = 30
    drain_s: float = 30
    resend_s: float = 10
    queue_timeout_s: float = 3600
    window: int = 64
    dispatch_tick_s: float = 1.0
    beat_tick_s: float = 1.0

    flower_host: str = "127.0.0.1"
    flower_port: int = 5555
    #: Asked for by Flower when set; it must be where Flower listens beyond loopback.
    flower_user: str = "opsfarm"
    flower_password: SecretStr = SecretStr("")

    #: Host names, addresses and networks that senders may reach although they are private.
    allow_private: str = ""
    #: PEM file of the authorities that outgoing HTTPS trusts, in place of the public ones.
    http_ca_file: Path | None = None
    smtp_host: str = Field(default="", validation_alias="SMTP_HOST")
    smtp_port: int = Field(default=587, validation_alias="SMTP_PORT")
    smtp_user: str = Field(default="", validation_alias="SMTP_USER")
    smtp_password: SecretStr = Field(default=SecretStr(""), validation_alias="SMTP_PASSWORD")
    #: "starttls" (default; also true), "implicit" (port 465), "off" (also false).
    smtp_use_tls: str = Field(default="starttls", validation_alias="SMTP_USE_TLS")
    smtp_from: str = Field(default="", validation_alias="SMTP_FROM")
    smtp_ca_file: Path | None = Field(default=None, validation_alias="SMTP_CA_FILE")
    slack_webhook_url: SecretStr = Field(
        default=SecretStr(""), validation_alias="SLACK_WEBHOOK_URL"
    )
    teams_webhook_url: SecretStr = Field(
        default=SecretStr(""), validation_alias="TEAMS_WEBHOOK_URL"
    )

    @cached_property
    def routing(self) -> Routing:
        """Queue names on this farm."""
        return Routing(self.queue_prefix, self.queue_overrides)


def read_settings(**overrides: object) -> Settings:
    """Read the environment; raises ConfigError naming the setting that cannot work."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting {name}: {first['msg']}") from None
