"""In the notebooks of the site a shell command that fails, `!command`, fails its cell, and so the build."""

import subprocess

_shell = get_ipython()  # noqa: F821


def _system(command):
    done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout, end="")
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {command}")


_shell.system = _system
