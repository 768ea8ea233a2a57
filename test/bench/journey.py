"""The journey of a request through all domains: how long it takes from submit to report, and what events and door cost.

usage: journey.py [requests | overhead]...

requests: on tables of 10,000 rows, in turn with other calls that do the same work.  overhead: CPU seconds of all processes of
the server for a table of 1,000,000 rows and one of 10,000, in turn with the operations that the steps do, called directly, in
one session.  All is asked for by a role that is no superuser.
"""
import argparse
import os
import platform
import time

import numpy as np

from measure import Session, table

TABLES = 10
SMALL = 10_000
LARGE = 1_000_000
REQUESTS = 100
LARGE_ROUNDS = 12
SMALL_ROUNDS = 20

# Ten columns of all kinds; `merchant` has too many different texts to be a category.
ROWS = """
    CREATE TABLE %(name)s AS SELECT i AS id, timestamptz '2026-01-01' + i * interval '1 s' AS paid_at, (random() * 1e6)::bigint AS account,
        (random() * 1000)::numeric(10, 2) AS amount, random() AS ratio, (1 + random() * 9)::int AS items, random() < 0.1 AS is_new,
        (ARRAY['DE', 'FR', 'IT', 'ES', 'PL', 'AT', 'CH'])[1 + (random() * 6)::int] AS country, 'merchant ' || (random() * 2000)::int AS merchant,
        date '2020-01-01' + (random() * 2000)::int AS opened_on
    FROM generate_series(1, %(rows)d) i;
    ALTER TABLE %(name)s ADD PRIMARY KEY (id);
    ALTER TABLE %(name)s OWNER TO journeyer"""

SETUP = """
    CREATE EXTENSION pynomaly;
    SELECT pynomaly.create_roles();
    CREATE ROLE journeyer LOGIN IN ROLE pynomaly_data_scientist;
    CREATE TABLE kept_sketch (sketch pynomaly.sketch);
    ALTER TABLE kept_sketch OWNER TO journeyer;
    SELECT setseed(0.42)"""

# What the steps do is also to be had as operations, for the door; the bench calls them without it.
STEPS = {"process": ("data_science", "process_dataset"), "analyze": ("data_quality", "check"), "profile": ("data_profiling", "profile"),
         "train": ("mlops", "train"), "detect": ("data_science", "detect")}

OF_SESSION = "the session that asks"
OF_SERVER = "WAL writer, checkpointer and others"


def milliseconds(value):
    return "%.1f" % value if value < 100 else "%.0f" % value


def quartiles(values, form):
    low, middle, high = np.percentile(values, [25, 50, 75])
    return "%s (%s to %s)" % (form % middle, form % low, form % high)


def difference(after, before):
    return {kind: after[kind] - before.get(kind, 0) for kind in after}


class Server:
    """The server's processes, as a superuser sees them, and a session of the role that asks for journeys."""

    def __init__(self):
        self.admin = Session()
        self.admin.run(SETUP)
        self.small = ["small_%d" % i for i in range(TABLES)]
        for name in self.small:
            self.admin.run(ROWS % {"name": name, "rows": SMALL})
        self.admin.run(ROWS % {"name": "large", "rows": LARGE})
        for domain, operation in STEPS.values():
            self.admin.run("GRANT USAGE ON SCHEMA pynomaly_%s TO journeyer" % domain)
            self.admin.run('GRANT EXECUTE ON FUNCTION pynomaly_%s."%s"(jsonb) TO journeyer' % (domain, operation))
        # Not those of the extension: what plans are made for would be empty tables.
        self.admin.run("VACUUM ANALYZE %s" % ", ".join(self.small + ["large"]))
        self.admin.run("SELECT pynomaly.start()")
        self.user = self.session()
        # The first ones make the workers come, and what they keep.
        for name in self.small:
            self.journey(name)
        self.settle()

    @staticmethod
    def session():
        session = Session()
        session.run("SET SESSION AUTHORIZATION journeyer")
        session.run("SET client_min_messages = warning")
        return session

    def journey(self, name):
        """A request, and when it was asked for and its report was here."""
        begin = time.time()
        request = self.user.run("SELECT pynomaly.submit(%s)", [name])[0][0]
        status = self.user.run("SELECT pynomaly.wait(%s)", [request])[0][0]
        self.user.run("SELECT pynomaly.report(%s)", [request])
        assert status == "completed", status
        return request, begin, time.time()

    def cpu(self):
        """CPU seconds so far, by kind of process: the workers of the domains, the session that asks, the rest of the server."""
        used = {}
        for pid, domain in self.admin.run("""
                SELECT a.pid, coalesce(w.domain::text, CASE WHEN a.pid = %s THEN %s ELSE %s END)
                FROM pg_stat_activity a LEFT JOIN pynomaly_kernel.workers() w USING (pid)
                WHERE a.backend_type NOT LIKE 'autovacuum%%' AND a.pid <> pg_backend_pid()""", [self.user.pid, OF_SESSION, OF_SERVER]):
            with open("/proc/%d/schedstat" % pid) as file:
                used[domain] = used.get(domain, 0) + int(file.read().split()[0]) / 1e9
        return used

    def idle(self, seconds=5):
        """CPU seconds per second by kind of process while nothing is to be done."""
        before = self.cpu()
        time.sleep(seconds)
        return {kind: used / seconds for kind, used in difference(self.cpu(), before).items()}

    def settle(self):
        """Waits until the workers only look for work, twice in a row since others may keep them from their turn."""
        quiet = 0
        before = sum(self.cpu().values())
        while quiet < 2:
            time.sleep(0.1)
            after = sum(self.cpu().values())
            quiet = quiet + 1 if after - before < 0.004 else 0
            before = after


# ---------------------------------------------------------------- requests

def parts_of(server, request, begin, end):
    """The time from submit to report in ms, by what it was spent on: [(step, "wait" or "work", ms)]."""
    steps = server.admin.run("""
        SELECT name, extract(epoch FROM caused_at)::float8, extract(epoch FROM ended_at)::float8, worked_seconds
        FROM pynomaly.timeline WHERE request = %s ORDER BY step""", [request])
    reported = server.admin.run("SELECT extract(epoch FROM created_at)::float8 FROM pynomaly_gateway.report WHERE request = %s", [request])[0][0]
    parts = [("submit", "wait", steps[0][1] - begin)]
    for name, caused, ended, worked in steps:
        parts += [(name, "wait", ended - caused - worked), (name, "work", worked)]
    parts += [("report", "wait", reported - steps[-1][2]), ("answer", "wait", end - reported)]
    return [(step, kind, 1000 * seconds) for step, kind, seconds in parts]


def timed(session, *commands):
    begin = time.time()
    for command in commands:
        session.run(command)
    return 1000 * (time.time() - begin)


def one_after_another(server):
    """Measures of requests, each followed by the other calls on the same table."""
    whole, detect, calls, parts = [], [], [], []
    for i in range(REQUESTS):
        name = server.small[i % TABLES]
        request, begin, end = server.journey(name)
        whole.append(1000 * (end - begin))
        parts.append(parts_of(server, request, begin, end))
        server.settle()
        detect.append(timed(server.user, "SELECT count(*) FROM pynomaly.detect('%s')" % name))
        calls.append(timed(server.user, "SELECT count(*) FROM pynomaly.\"check\"('%s')" % name, "SELECT count(*) FROM pynomaly.profile('%s')" % name,
                           "SELECT pynomaly.train('called_%s', '%s')" % (name, name),
                           "SELECT count(*) FROM pynomaly.detect('%s', model => 'called_%s')" % (name, name)))
        server.settle()
    return whole, detect, calls, parts


def at_once(server):
    """Seconds from the first submit to the last report, and the time of each request."""
    before = sum(server.cpu().values())
    begin = time.time()
    requests = [server.user.run("SELECT pynomaly.submit(%s)", [server.small[i % TABLES]])[0][0] for i in range(REQUESTS)]
    submitted = time.time() - begin
    for request in requests:
        assert server.user.run("SELECT pynomaly.wait(%s)", [request])[0][0] == "completed"
    used = sum(server.cpu().values()) - before
    times = server.admin.run("""
        SELECT extract(epoch FROM p.created_at)::float8 - %s, 1000 * extract(epoch FROM p.created_at - r.submitted_at)::float8
        FROM pynomaly_gateway.report p JOIN pynomaly_gateway.request r ON r.id = p.request WHERE r.id = ANY (%s::uuid[])""", [begin, requests])
    return submitted, max(seconds for seconds, _ in times), used, [each for _, each in times]


def measure_requests(server):
    whole, detect, calls, parts = one_after_another(server)
    print("%d requests one after another on %d tables of %s rows and 10 columns, each followed by the other calls on the same table; ms as the "
          "session sees them:\n" % (REQUESTS, TABLES, format(SMALL, ",")))
    rows = []
    for what, values in (("`submit`, `wait`, `report`", whole), ("`detect`", detect), ("`check`, `profile`, `train`, `detect` with the model", calls)):
        ratio = quartiles(np.array(whole) / np.array(values), "%.2f")
        rows.append([what, *map(milliseconds, np.percentile(values, [50, 99])), "" if values is whole else ratio])
    table(["what", "p50 ms", "p99 ms", "a request takes times as long, median (quartiles)"], rows)

    print("What a request waits for and works on, ms, and the share of the mean request. A step's work is what it says itself (the view "
          "`pynomaly.timeline`); its wait is all the rest since the step before, its commit included:\n")
    rows = []
    mean = np.mean(whole)
    waits, between = np.zeros(len(whole)), np.zeros(len(whole))
    for step in dict.fromkeys(step for step, _, _ in parts[0]):
        row = [step]
        for kind in ("wait", "work"):
            values = np.array([[ms for s, k, ms in request if (s, k) == (step, kind)] for request in parts])
            if values.size == 0:
                row += ["", "", ""]
                continue
            if kind == "wait":
                waits += values[:, 0]
                between += values[:, 0] if step not in ("submit", "answer") else 0
            row += [*map(milliseconds, np.percentile(values, [50, 99])), "%.1f %%" % (100 * np.mean(values) / mean)]
        rows.append(row)
    rows.append(["between steps and to the report", *map(milliseconds, np.percentile(between, [50, 99])), "%.1f %%" % (100 * np.mean(between) / mean), "", "", ""])
    rows.append(["all", *map(milliseconds, np.percentile(waits, [50, 99])), "%.1f %%" % (100 * np.mean(waits) / mean),
                 *map(milliseconds, np.percentile(whole - waits, [50, 99])), "%.1f %%" % (100 * np.mean(whole - waits) / mean)])
    table(["", "wait, p50", "wait, p99", "share", "work, p50", "work, p99", "share"], rows)

    submitted, seconds, used, times = at_once(server)
    print("%d requests submitted at once by one session, in %.2f s:\n" % (REQUESTS, submitted))
    table(["requests a second", "p50 s", "p99 s", "CPU ms of all processes per request"],
          [["%.1f" % (REQUESTS / seconds), *("%.2f" % (ms / 1000) for ms in np.percentile(times, [50, 99])), "%.1f" % (1000 * used / REQUESTS)]])
    server.settle()


# ---------------------------------------------------------------- overhead

def cpu_of_journey(server, name, idle):
    """CPU seconds by kind of process, what is done after the report included, without what looking for work takes."""
    begin = time.time()
    before = server.cpu()
    server.journey(name)
    server.settle()
    used = difference(server.cpu(), before)
    seconds = time.time() - begin
    return {kind: used[kind] - idle.get(kind, 0) * seconds for kind in used}


def cpu_of_operations(server, name, idle):
    """CPU seconds of the session for each of the operations that the steps do, called directly in one transaction each; and of the server."""
    user = server.user
    begin, all_before = time.time(), server.cpu()
    used = {}
    found = {}

    def call(step, rows, members):
        domain, operation = STEPS[step]
        before = user.cpu()
        result = user.run('SELECT %s pynomaly_%s."%s"(jsonb_strip_nulls(jsonb_build_object(%s)))'
                          % ("count(*) FROM" if rows else "", domain, operation, members), found)
        used[step] = user.cpu() - before
        return result[0][0]

    found.update(name=name)
    found.update(call("process", False, "'relation', %(name)s::regclass::oid::bigint"))
    sketch = "'sketch', %(sketch)s::text, 'dataset', %(dataset)s::bigint, 'source', %(source)s::text"
    call("analyze", True, sketch)
    call("profile", True, sketch)
    found.update(call("train", False, "'name', 'direct_' || %(name)s, 'algorithm', 'auto', " + sketch))
    call("detect", False, "'relation', %(name)s::regclass::oid::bigint, 'model', %(address)s::text")
    used[OF_SERVER] = difference(server.cpu(), all_before)[OF_SERVER] - idle[OF_SERVER] * (time.time() - begin)
    return used


def cpu_of_pure_calls(server, name, _):
    """CPU seconds of the session for what stores nothing of its own: sketch, fit, flagged rows by the model."""
    user = server.user
    used = 0
    for command in ("TRUNCATE kept_sketch", "INSERT INTO kept_sketch SELECT pynomaly.sketch_of('%s')" % name,
                    "SELECT pg_column_size(pynomaly.fit(sketch)) FROM kept_sketch",
                    "SELECT count(*) FROM pynomaly.anomalies('%s', model => 'direct_%s')" % (name, name)):
        before = user.cpu()
        user.run(command)
        if not command.startswith("TRUNCATE"):
            used += user.cpu() - before
    return used


def measure_overhead(server):
    idle = server.idle()
    print("With nothing to do all processes take %.1f CPU ms a second, which is not counted below.\n" % (1000 * sum(idle.values())))
    # The small ones first: a process that has had much memory keeps some, and is faster from then on.
    for name, count, rounds in ((server.small[0], SMALL, SMALL_ROUNDS), ("large", LARGE, LARGE_ROUNDS)):
        journeys, operations, pure = [], [], []
        for i in range(rounds + 1):
            for values, measure in ((journeys, cpu_of_journey), (operations, cpu_of_operations), (pure, cpu_of_pure_calls)):
                # What one has written is not to be the other's to write to disk.
                server.admin.run("CHECKPOINT")
                server.settle()
                value = measure(server, name, idle)
                if i > 0:
                    values.append(value)
        print_overhead(count, journeys, operations, pure)


def print_overhead(count, journeys, operations, pure):
    print("CPU ms of a request on %s rows, %d rounds; medians, and medians of the rounds' ratios (quartiles). *Directly*: the operations "
          "that the steps do, called in one session without events and door; they store the same:\n" % (format(count, ","), len(journeys)))
    work = np.array([sum(each.values()) for each in operations])
    rows = []

    def row(what, kinds, directly):
        values = np.array([sum(each.get(kind, 0) for kind in kinds) for each in journeys])
        direct = np.array([sum(each[step] for step in directly) for each in operations])
        more = values - direct
        rows.append([what, "%.1f" % (1000 * np.median(values)), "%.1f" % (1000 * np.median(direct)) if directly else "",
                     "%.1f" % (1000 * np.median(more)), quartiles(100 * more / work, "%.1f %%")])

    domains = list(dict.fromkeys(domain for domain, _ in STEPS.values()))
    for domain in domains:
        steps = [step for step in STEPS if STEPS[step][0] == domain]
        row("worker of %s: %s" % (domain, " and ".join(steps)), [domain], steps)
    row("worker of the gateway: saga, report, listeners, audit", ["gateway"], [])
    row("the session: `submit`, `wait`, `report`", [OF_SESSION], [])
    row(OF_SERVER, [OF_SERVER], [OF_SERVER])
    row("gateway, session and server together", ["gateway", OF_SESSION, OF_SERVER], [OF_SERVER])
    row("all", domains + ["gateway", OF_SESSION, OF_SERVER], list(STEPS) + [OF_SERVER])
    table(["what", "journey", "directly", "more", "more, of all direct work"], rows)
    whole = np.array([sum(each.values()) for each in journeys])
    print("Workers keep memory from one event to the next, which sessions give back; so a domain's worker may take less than the session. Against "
          "`sketch_of`, `fit` and `anomalies` with a model, which check and profile nothing and store only the sketch (%.0f ms), a request takes "
          "%s times as much.\n" % (1000 * np.median(pure), quartiles(whole / np.array(pure), "%.2f")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=["requests", "overhead", []])
    wanted = parser.parse_args().parts or ["requests", "overhead"]
    server = Server()
    version = server.admin.run("SHOW server_version")[0][0].split()[0]
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print("PostgreSQL %s, %s, %d cores.\n" % (version, cpu, os.cpu_count()), flush=True)
    for part, measure in (("requests", measure_requests), ("overhead", measure_overhead)):
        if part in wanted:
            measure(server)


if __name__ == "__main__":
    main()
