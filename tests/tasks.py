"""What workers do in the tests."""

import time

from unshrink.errors import ImageError


def nothing():
    pass


def refuse():
    raise ImageError("no")


def divide():
    return 1 / 0


def hang(body, options, bound):
    time.sleep(600)


def hang_alone(body):
    time.sleep(600)
