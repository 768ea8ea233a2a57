"""The event bus: what publishing costs, how soon events are handled, how fast a backlog is, and what an open snapshot does to it.

usage: bus.py [--minutes N] [publishing | latency | backlog | snapshot]...      N: with the snapshot open, 10 unless told

The server must write through to its disk (fsync = on), since commits are half of what is compared.
"""
import argparse
import os
import platform
import re
import subprocess
import tempfile
import threading
import time

import numpy as np

from measure import Session, table

ROUNDS = 15
ROUND_SECONDS = 3
RATE = 500
BACKLOG = 200_000
POLL = 0.005

ORDER = "'order ' || :order, jsonb_build_object('order', :order::int, 'amount', 12.5)"
PUBLISH = "SELECT pynomaly_kernel.publish('bench.order_paid.v1', %s)" % ORDER
INSERT = """INSERT INTO %s (id, origin, type, source, subject, data, "time", correlation_id, priority, publisher, xid)
    SELECT nextval('plain_id'), '019a8f6e-8d2c-7c3e-9a51-3b8c1f0d2e47', 'bench.order_paid.v1', 'bench', """ + ORDER + """,
        clock_timestamp(), gen_random_uuid(), 0, 10, pg_current_xact_id()"""
NOTIFY = "WITH event AS (%s RETURNING id) SELECT pg_notify('bench', id::text) FROM event" % (INSERT % "plain_event")

# A queue in the shape that pgmq's documentation describes: a message read is invisible until vt, and deleted when it is handled.
QUEUE = """
    CREATE TABLE queue (msg_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, read_ct integer NOT NULL DEFAULT 0,
        enqueued_at timestamptz NOT NULL DEFAULT clock_timestamp(), vt timestamptz NOT NULL, message jsonb);
    CREATE INDEX ON queue (vt)"""
SEND = "INSERT INTO queue (vt, message) SELECT clock_timestamp(), jsonb_build_object('order', :order::int, 'amount', 12.5)"
READ = """
    WITH next AS (SELECT msg_id FROM queue WHERE vt <= clock_timestamp() ORDER BY msg_id LIMIT 60 FOR UPDATE SKIP LOCKED)
    UPDATE queue SET vt = clock_timestamp() + interval '30 s', read_ct = read_ct + 1 FROM next WHERE queue.msg_id = next.msg_id
    RETURNING queue.msg_id, queue.enqueued_at"""
HANDLE_AND_DELETE = """
    WITH handled AS (DELETE FROM queue WHERE msg_id = ANY (%s) RETURNING msg_id, enqueued_at)
    INSERT INTO queue_handled SELECT msg_id, enqueued_at, clock_timestamp() FROM handled"""

SETUP = """
    CREATE EXTENSION pynomaly;
    SELECT pynomaly_kernel.register_event_type('bench.order_paid.v1', '{"type": "object", "required": ["order", "amount"],
        "properties": {"order": {"type": "integer"}, "amount": {"type": "number"}}}');
    CREATE SEQUENCE plain_id;
    CREATE TABLE plain_event (LIKE pynomaly_kernel.event_0 INCLUDING ALL);
    CREATE TABLE bare_event (LIKE pynomaly_kernel.event_0);
    CREATE TABLE handled (id bigint, published_at timestamptz, handled_at timestamptz);
    CREATE TABLE queue_handled (LIKE handled);
    CREATE FUNCTION in_plpgsql(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.handled VALUES (event.id, event."time", clock_timestamp()); END';
    CREATE FUNCTION in_sql(event pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
        'INSERT INTO public.handled VALUES (event.id, event."time", clock_timestamp())';
    CREATE FUNCTION does_nothing(event pynomaly_kernel.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';"""


class Load:
    """pgbench, with one statement as its transaction, as fast as it can or at a rate."""

    def __init__(self, statement, seconds, clients=8, rate=None):
        self.script = tempfile.NamedTemporaryFile("w", suffix=".sql")
        self.script.write("\\set order random(1, 100000)\n%s;\n" % " ".join(statement.split()))
        self.script.flush()
        self.process = subprocess.Popen(
            ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "2" if rate is None else "1", "-T", str(seconds),
             "-f", self.script.name] + ([] if rate is None else ["-R", str(rate)]),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait(self):
        """Transactions, and transactions a second."""
        output, errors = self.process.communicate()
        assert self.process.returncode == 0 and "number of failed transactions: 0 " in output, output + errors
        return (int(re.search(r"actually processed: (\d+)", output).group(1)), float(re.search(r"tps = ([\d.]+)", output).group(1)))


def cpu_of_ended_sessions(session):
    """CPU seconds of all children of the postmaster that have ended."""
    while session.run("SELECT 1 FROM pg_stat_activity WHERE application_name = 'pgbench'"):
        time.sleep(0.1)
    time.sleep(0.2)
    postmaster = open("/proc/%d/stat" % session.pid).read().rpartition(")")[2].split()[1]
    fields = open("/proc/%s/stat" % postmaster).read().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def worker(session):
    """The process of the worker; None if there is none."""
    found = session.run("SELECT pid FROM pynomaly_kernel.workers() WHERE pid IS NOT NULL")
    return found[0][0] if found else None


def start(session):
    session.run("SELECT pynomaly.start()")
    while worker(session) is None:
        time.sleep(0.01)
    return worker(session)


def start_to_handle(session, handler):
    """A subscription of a handler that inserts into `handled`, and the process of a worker that has handled an event of it."""
    name = session.run("SELECT pynomaly.subscribe('bench.*', %s)", [handler])[0][0]
    pid = start(session)
    session.run("SELECT pynomaly_kernel.publish('bench.order_paid.v1', NULL, '{\"order\": 0, \"amount\": 0}')")
    while not session.run("SELECT 1 FROM handled"):
        time.sleep(0.01)
    session.run("TRUNCATE handled")
    return name, pid


def stop(session):
    session.run("SELECT pynomaly.stop()")
    while session.run("SELECT 1 FROM pg_stat_activity WHERE backend_type LIKE 'pynomaly%%worker%%'"):
        time.sleep(0.01)


def cpu_of_process(pid):
    with open("/proc/%d/schedstat" % pid) as file:
        return int(file.read().split()[0]) / 1e9


def measure_publishing(session):
    kinds = {"plain `INSERT`": INSERT % "plain_event", "`publish`": PUBLISH, "`publish` while a worker tells listeners": PUBLISH,
             "plain `INSERT` and `NOTIFY`": NOTIFY, "plain `INSERT` into a table without indexes": INSERT % "bare_event"}
    rates, cpu = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    order = np.random.default_rng(1)
    for _ in range(ROUNDS):
        for kind in order.permutation(list(kinds)):
            served = "worker" in kind
            if served:
                start(session)
            before = cpu_of_ended_sessions(session)
            count, rate = Load(kinds[kind], ROUND_SECONDS).wait()
            cpu[kind].append((cpu_of_ended_sessions(session) - before) / count * 1e6)
            rates[kind].append(rate)
            if served:
                stop(session)
            # What a worker finds when it comes is not to be what was published without it.
            session.run("CALL pynomaly.process_events()")
    print("8 clients, one event per transaction, synchronous_commit = on; %d rounds of %d s in changing order. CPU is that of the 8 sessions.\n"
          "Medians; ratios are medians of the rounds' ratios (quartiles):\n" % (ROUNDS, ROUND_SECONDS))
    plain = next(iter(kinds))
    rows = []
    for kind in kinds:
        ratio = np.percentile(np.array(rates[kind]) / rates[plain], [25, 50, 75]) * 100
        cpu_ratio = np.percentile(np.array(cpu[kind]) / cpu[plain], [25, 50, 75])
        rows.append([kind, "%.0f" % np.median(rates[kind]), "%.0f %% (%.0f to %.0f)" % (ratio[1], ratio[0], ratio[2]),
                     "%.0f" % np.median(cpu[kind]), "%.2f (%.2f to %.2f)" % (cpu_ratio[1], cpu_ratio[0], cpu_ratio[2])])
    table(["what", "transactions a second", "of plain", "CPU µs per transaction", "times plain"], rows)


def milliseconds(value):
    return "never" if value == float("inf") else "%.1f" % value if value < 100 else "%.0f" % value


def measure_latency(session):
    name, pid = start_to_handle(session, "public.in_plpgsql")
    before = cpu_of_process(pid)
    count, _ = Load(PUBLISH, 20, clients=4, rate=RATE).wait()
    while session.run("SELECT count(*) FROM handled")[0][0] < count:
        time.sleep(0.1)
    used = cpu_of_process(pid) - before
    latency = np.array([row[0] for row in session.run("SELECT extract(epoch FROM handled_at - published_at)::float8 * 1000 FROM handled")])
    stop(session)
    session.run("SELECT pynomaly.unsubscribe(%s)", [name])
    session.run("TRUNCATE handled")
    print("%d events a second for 20 s, one per transaction, from 4 clients; from publishing, before the commit, to the handler, which inserts "
          "a row:\n" % RATE)
    table(["events", "p50 ms", "p99 ms", "longest ms", "CPU µs of the worker per event"],
          [[format(count, ",")] + [milliseconds(np.percentile(latency, at)) for at in (50, 99, 100)] + ["%.0f" % (used / count * 1e6)]])


def measure_backlog(session):
    rows = []
    for handler, what in (("does_nothing", "nothing, in PL/pgSQL"), ("in_sql", "one row inserted, in SQL"),
                          ("in_plpgsql", "one row inserted, in PL/pgSQL")):
        name = session.run("SELECT pynomaly.subscribe('bench.*', 'public.%s')" % handler)[0][0]
        for part in range(10):
            session.run("SELECT count(pynomaly_kernel.publish('bench.order_paid.v1', 'order ' || i, jsonb_build_object('order', i, "
                        "'amount', 12.5))) FROM generate_series(%s, %s) AS i", [part * BACKLOG // 10 + 1, (part + 1) * BACKLOG // 10])
        begin = time.monotonic()
        pid = start(session)
        while session.run("SELECT handled FROM pynomaly_kernel.subscription_position WHERE subscription = %s", [name])[0][0] < BACKLOG:
            time.sleep(0.05)
        seconds, used = time.monotonic() - begin, cpu_of_process(pid)
        stop(session)
        session.run("SELECT pynomaly.unsubscribe(%s)", [name])
        session.run("TRUNCATE handled")
        rows.append([what, "%.1f" % seconds, format(int(BACKLOG / seconds), ","), "%.1f" % (used / BACKLOG * 1e6)])
    print("%s events of 10 transactions wait when the worker is started; it also tells listeners of them:\n" % format(BACKLOG, ","))
    table(["the handler does", "seconds", "events a second", "CPU µs per event"], rows)


class QueueWorker(threading.Thread):
    """Polls the queue as a worker would, each piece in two transactions: one that makes it invisible, one that handles and deletes it."""

    def __init__(self):
        super().__init__()
        self.session = Session()
        self.session.run("SET synchronous_commit = off")
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.is_set():
            messages = self.session.run(READ)
            if messages:
                self.session.run(HANDLE_AND_DELETE, [[message for message, _ in messages]])
            else:
                time.sleep(POLL)

    def end(self):
        self.ended.set()
        self.join()
        self.session.close()


def measure_snapshot(session, minutes):
    session.run(QUEUE)
    name, pid = start_to_handle(session, "public.in_plpgsql")
    queue_worker = QueueWorker()
    processes = [pid, queue_worker.session.pid]
    loads = [Load(statement, (minutes + 1) * 60 + 3, clients=4, rate=RATE) for statement in (PUBLISH, SEND)]
    time.sleep(2)
    begin = time.time()
    reader = Session()
    cpu = [[cpu_of_process(pid) for pid in processes]]
    for minute in range(minutes + 1):
        time.sleep(max(0, begin + (minute + 1) * 60 - time.time()))
        cpu.append([cpu_of_process(pid) for pid in processes])
        if minute == 0:
            reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
            reader.run("SELECT count(*) FROM pg_class")
    for load in loads:
        load.wait()
    time.sleep(2)
    queue_worker.end()
    reader.close()
    stop(session)
    session.run("SELECT pynomaly.unsubscribe(%s)", [name])
    report_snapshot(session, begin, minutes, np.diff(np.array(cpu), axis=0))


def report_snapshot(session, begin, minutes, cpu):
    rows = []
    for minute in range(minutes + 1):
        row = ["before" if minute == 0 else str(minute)]
        for i, (published, handled) in enumerate((
                ("SELECT id, \"time\" FROM pynomaly_kernel.event WHERE type = 'bench.order_paid.v1'", "handled"),
                ("SELECT id, published_at AS \"time\" FROM queue_handled UNION ALL SELECT msg_id, enqueued_at FROM queue", "queue_handled"))):
            p50, p99, late, count = session.run("""
                SELECT (percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY latency))[1],
                    (percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY latency))[2],
                    count(*) FILTER (WHERE latency = 'Infinity'),
                    (SELECT count(*) FROM {handled} WHERE handled_at BETWEEN {from_} AND {to})
                FROM (SELECT coalesce(extract(epoch FROM handled_at - p."time")::float8 * 1000, 'Infinity') AS latency
                    FROM ({published}) AS p LEFT JOIN {handled} USING (id) WHERE p."time" BETWEEN {from_} AND {to}) AS event""".format(
                        published=published, handled=handled, from_="to_timestamp(%f)" % (begin + minute * 60),
                        to="to_timestamp(%f)" % (begin + (minute + 1) * 60)))[0]
            row += [milliseconds(p50), milliseconds(p99), format(count, ","), "%.0f" % (cpu[minute][i] / max(count, 1) * 1e6)]
        rows.append(row)
    print("%d events a second and as many messages, side by side; after the first minute a session holds a snapshot open. The queue's worker "
          "polls every %d ms.\nBy minute of publishing:\n" % (RATE, POLL * 1000))
    table(["minute of the snapshot"] + [who + what for who in ("", "queue: ") for what in ("p50 ms", "p99 ms", "handled", "CPU µs per event")], rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("parts", nargs="*")
    arguments = parser.parse_args()
    session = Session()
    assert session.run("SHOW fsync")[0][0] == "on"
    session.run(SETUP)
    version = session.run("SHOW server_version")[0][0].split()[0]
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print("PostgreSQL %s, %s, %d cores.\n" % (version, cpu, os.cpu_count()), flush=True)
    parts = {"publishing": measure_publishing, "latency": measure_latency, "backlog": measure_backlog,
             "snapshot": lambda session: measure_snapshot(session, arguments.minutes)}
    for part in arguments.parts or parts:
        parts[part](session)


if __name__ == "__main__":
    main()
