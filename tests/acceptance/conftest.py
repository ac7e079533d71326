"""Fixtures of tests from the outside."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def find_program():
    """`find_program("sshd")`: its path; skips on a laptop without it, fails in CI."""

    def find(name):
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if path is None and os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI must have it")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find
