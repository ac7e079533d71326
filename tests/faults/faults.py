"""Every fault there is, in the order in which they are played."""

from tests.faults.deadline_faults import let_deadlines_pass
from tests.faults.fault import Fault
from tests.faults.ledger_faults import (
    cancel_everything,
    cancel_in_each_phase,
    race_for_host,
    speak_for_others,
)
from tests.faults.lost_answers import lose_every_answer
from tests.faults.message_faults import (
    forge_messages,
    send_malformed,
    treble_messages,
    use_wrong_queue,
)
from tests.faults.process import POINTS
from tests.faults.process_faults import (
    cut_off,
    do_nothing,
    freeze_worker,
    kill_after_effect,
    kill_at,
    kill_beats,
    kill_dispatchers,
    kill_workers,
    roll_workers,
)
from tests.faults.remote_faults import hang_host, kill_sessions, outlive_timeout
from tests.faults.server_faults import (
    fill_redis,
    flush_redis,
    kill_redis,
    restart_postgres,
    restart_rabbitmq,
    stop_postgres,
)
from tests.faults.tool_faults import kill_tools, run_rogues

FAULTS = (
    Fault(
        "nothing",
        do_nothing,
        fast=True,
        apart=True,
        plans=24,
        alone=True,
        # That of production: a message that a busy machine serves late was not lost.
        settings={"OPSFARM_RESEND_S": "10"},
    ),
    *(
        Fault(f"kill worker {point.replace('_', ' ')}", kill_at(point), fast=True)
        for point in POINTS
    ),
    Fault("kill all workers", kill_workers, fast=True),
    Fault("kill all workers after an effect", kill_after_effect, fast=True),
    Fault("freeze worker past its lease", freeze_worker, fast=True),
    Fault("rolling restart", roll_workers, fast=True),
    Fault("kill both dispatchers", kill_dispatchers, fast=True),
    Fault("kill both beats in turn", kill_beats, fast=True),
    Fault("kill redis, aof off", kill_redis("off"), broker="redis", fast=True),
    Fault("kill redis, aof everysec", kill_redis("everysec"), broker="redis"),
    Fault("kill redis, aof always", kill_redis("always"), broker="redis"),
    Fault("flushall", flush_redis, broker="redis", fast=True),
    Fault("redis out of memory", fill_redis, broker="redis", fast=True),
    Fault("restart rabbitmq", restart_rabbitmq, broker="rabbitmq", fast=True),
    Fault("restart postgres", restart_postgres, fast=True),
    Fault("postgres away for 4 s", stop_postgres(4)),
    Fault("postgres away for 90 s", stop_postgres(90), alone=True),
    Fault("worker cut off from broker", cut_off("broker"), plans=40, fast=True),
    Fault("worker cut off from postgres", cut_off("postgres"), plans=40, fast=True),
    Fault("every message three times", treble_messages, fast=True),
    Fault("forged messages", forge_messages, fast=True),
    Fault("messages in the wrong queue", use_wrong_queue, fast=True),
    Fault("malformed messages", send_malformed, fast=True),
    Fault("cancel at random", cancel_everything, fast=True),
    Fault("cancel in each phase", cancel_in_each_phase, fast=True),
    Fault("deadlines while processes die", let_deadlines_pass, fast=True),
    Fault("answers lost after the commit", lose_every_answer),
    Fault("words with a foreign token", speak_for_others, fast=True),
    Fault("two claims race for a host", race_for_host, fast=True),
    Fault("kill tools", kill_tools, fast=True),
    Fault("rogue tools", run_rogues, fast=True),
    Fault("kill ssh sessions", kill_sessions, fast=True),
    Fault("remote command outlives its time", outlive_timeout, fast=True),
    Fault("host hangs under a remote command", hang_host),
)
