"""Runs playbooks as the command ansible-playbook does, each in a fork of a process that has loaded Ansible.

To load it and its plugins, to pack its modules for the hosts and to compile templates is more than half of a short
run's work, and the tests start hundreds of runs.
"""

import hashlib
import json
import marshal
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / ".cache" / "templates"
PLAIN = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}


class Run:
    """One run of a playbook, with what the command takes as arguments, in the project's folder."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        surroundings = os.environ | PLAIN | environment
        said, says = os.pipe()
        ended, ends = os.pipe()
        request = json.dumps([[str(argument) for argument in arguments], surroundings])
        socket.send_fds(_process(surroundings), [request.encode()], [says, ends])
        os.close(says)
        os.close(ends)
        self.lines = os.fdopen(said, errors="replace")  # what it says on both streams, as it comes
        self._ended = os.fdopen(ended)
        self._pid = int(self._ended.readline())

    def kill(self) -> None:
        """As a machine does that fails: nothing is put in order."""
        os.killpg(self._pid, signal.SIGKILL)

    def wait(self) -> tuple[int, str]:
        """The exit status, or minus the signal that killed it, and the lines that were not read yet."""
        with self.lines, self._ended:
            rest = self.lines.read()
            return int(self._ended.read()), rest


_processes: dict[frozenset[tuple[str, str]], socket.socket] = {}
_starting = threading.Lock()


def _process(surroundings: dict[str, str]) -> socket.socket:
    """Where to ask for runs: a process for each set of what Ansible and Python read while they are loaded."""
    loaded = frozenset(item for item in surroundings.items() if item[0].startswith(("ANSIBLE_", "PYTHON")))
    with _starting:
        if loaded not in _processes:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with its:
                command = [sys.executable, __file__, str(its.fileno())]
                subprocess.Popen(command, cwd=ROOT, env=surroundings, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()])
            _processes[loaded] = ours
        return _processes[loaded]


def _keep_templates() -> None:
    """Have Jinja keep what it compiles: Ansible compiles a task's templates in a process that ends with the task."""
    import ansible.release
    import jinja2

    TEMPLATES.mkdir(parents=True, exist_ok=True)
    compiled = jinja2.Environment.compile
    versions = (ansible.release.__version__, jinja2.__version__, sys.version)

    def kept(
        self: jinja2.Environment, source: object, name: str | None = None, *more: object, **options: object
    ) -> object:
        if not isinstance(source, str):
            return compiled(self, source, name, *more, **options)
        try:
            tokens = list(self.lexer.tokeniter(source, name))
        except jinja2.TemplateSyntaxError:
            return compiled(self, source, name, *more, **options)  # which says where it is
        key = repr((versions, type(self).__qualname__, name, more, options, tokens))
        file = TEMPLATES / hashlib.sha256(key.encode()).hexdigest()
        try:
            return marshal.loads(file.read_bytes())
        except (OSError, EOFError, ValueError, TypeError):
            code = compiled(self, source, name, *more, **options)
        if isinstance(code, CodeType):
            new = file.with_suffix(f".{os.getpid()}")
            new.write_bytes(marshal.dumps(code))
            new.replace(file)
        return code

    jinja2.Environment.compile = kept


def _serve(requests: socket.socket) -> None:
    """Until whoever asks has ended. Each run has a process beside it that waits for it."""
    from ansible.cli.playbook import PlaybookCLI
    from ansible.plugins import loader

    for kind in ("action", "become", "callback", "connection", "filter", "lookup", "shell", "strategy", "test"):
        list(getattr(loader, f"{kind}_loader").all(class_only=True))
    _keep_templates()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while (received := socket.recv_fds(requests, 1 << 20, 2))[0]:
        says, ends = received[1]
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run = os.fork()
            if run == 0:
                arguments, surroundings = json.loads(received[0])
                os.setsid()
                os.dup2(says, 1)
                os.dup2(says, 2)
                os.closerange(3, max(says, ends, requests.fileno()) + 1)
                os.environ.clear()
                os.environ.update(surroundings)
                try:
                    PlaybookCLI.cli_executor(["ansible-playbook", *arguments])
                except SystemExit as end:
                    sys.stdout.flush()
                    os._exit(end.code)
            os.close(says)
            os.write(ends, f"{run}\n".encode())
            os.write(ends, str(os.waitstatus_to_exitcode(os.waitpid(run, 0)[1])).encode())
            os._exit(0)
        os.close(says)
        os.close(ends)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
