"""What a request is told instead of an answer."""


class Refusal(Exception):
    """No, and why.

    Args:
        status: of HTTP.
        error: one sentence.
        retry: seconds after which to come again, where that is told.
    """

    def __init__(self, status: int, error: str, retry: int = 2) -> None:
        super().__init__(error)
        self.status, self.retry = status, retry
