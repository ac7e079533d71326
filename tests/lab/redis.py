"""Another redis-server than the embedded one, with the embedded one's settings."""

from pathlib import Path

from app.admin.servers import Server, prepare_redis, redis_answers, redis_program, redis_url
from tests.lab.daemon import start_daemon


def start_other_redis(program: str, folder: Path, port: int, password: str) -> Server:
    """Start `program` on loopback with its data in `folder`, and wait until it serves."""
    argv = prepare_redis(folder, port, password)
    argv = [program if word == redis_program() else word for word in argv]
    process = start_daemon(argv, folder / "redis.log", lambda: redis_answers(port, password))
    return Server(process, redis_url(port, password))
