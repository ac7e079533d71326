"""What is wrong with a tool file, and at which of its keys."""


class BadKey(Exception):
    """A key of a tool file that cannot be; `key` is its JSON path in the file."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem
