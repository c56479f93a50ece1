"""`cm` as a person has it: on a terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

from client_setup import Cm


class Terminal:
    """`cm` on a pseudo-terminal; `text` is what it has written so far."""

    def __init__(self, cm: Cm, *arguments: str, columns: int = 80, rows: int = 30) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {key: value for key, value in cm.environment.items() if key != "COLUMNS"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cm_cli", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.ours, 65536)
            except OSError:  # the other side is closed
                return
            if not data:
                return
            self.text += data.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def end(self) -> int:
        code = self.process.wait(timeout=20)
        self._reader.join(timeout=20)
        os.close(self.ours)
        return code
