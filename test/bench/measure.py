"""What the benches share: CPU seconds and memory of a server process, and tables in Markdown."""
import time

import psycopg2


class Session:
    """A connection whose process in the server is watched; commands run one by one, outside transactions."""

    def __init__(self, database="postgres"):
        self.connection = psycopg2.connect(dbname=database)
        self.connection.autocommit = True
        self.pid = self.connection.get_backend_pid()

    def run(self, command, parameters=None):
        with self.connection.cursor() as cursor:
            cursor.execute(command, parameters)
            return cursor.fetchall() if cursor.description else None

    def cpu(self):
        """User and system seconds of the process so far, from the scheduler, which counts nanoseconds."""
        with open("/proc/%d/schedstat" % self.pid) as file:
            return int(file.read().split()[0]) / 1e9

    def peak_memory(self):
        """The most memory that the process has had resident, in MB, shared buffers that it touched included."""
        with open("/proc/%d/status" % self.pid) as file:
            return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) / 1024

    def close(self):
        self.connection.close()


def cpu_of(command, database="postgres", runs=3):
    """CPU seconds of a command in a fresh session each time: the least of `runs`, the rest is the machine's noise."""
    best = None
    for _ in range(runs):
        session = Session(database)
        before = session.cpu()
        session.run(command)
        used = session.cpu() - before
        session.close()
        best = used if best is None else min(best, used)
    return best


def cpu_of_calls(command, calls, database="postgres"):
    """CPU seconds of each of some calls in one fresh session."""
    session = Session(database)
    used = []
    for _ in range(calls):
        before = session.cpu()
        session.run(command)
        used.append(session.cpu() - before)
    session.close()
    return used


def cpu_of_python(function, runs=3):
    """The same of a Python function."""
    best = None
    for _ in range(runs):
        before = time.process_time()
        function()
        used = time.process_time() - before
        best = used if best is None else min(best, used)
    return best


def table(header, rows):
    """Prints a table in Markdown."""
    for row in [header, ["---"] * len(header)] + rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)
