"""Attacks on files."""

import os


def read(path):
    with open(path, "rb") as file:
        return file.read(65536).decode(errors="replace")


def write(path):
    """Make a file, and leave nothing."""
    with open(path, "x") as file:
        file.write("planted")
    os.unlink(path)
    return "written"


def change(path):
    """Open an existing file for writing, change nothing."""
    with open(path, "r+b"):
        return "opened for writing"


def empty(path):
    size = os.stat(path).st_size
    os.truncate(path, size)
    return "truncated"


def remove(path):
    os.rename(path, path + ".gone")
    os.rename(path + ".gone", path)
    return "renamed"


def link(path, at):
    """Give it a name where it may be read."""
    os.link(path, at)
    try:
        return read(at)
    finally:
        os.unlink(at)


def through_symlink(path, at):
    os.symlink(path, at)
    try:
        return read(at)
    finally:
        os.unlink(at)


def through_root(path):
    return read("/proc/self/root" + path)


def through_a_child(path):
    import subprocess

    return subprocess.run(["cat", path], capture_output=True, text=True, check=True).stdout
