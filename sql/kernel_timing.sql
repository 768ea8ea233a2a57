-- When a schedule is due: against due times found minute by minute in Python (test/fixtures/timing.py), intervals against
-- PostgreSQL's arithmetic, and what is no timing.
\getenv directory PG_ABS_SRCDIR
\set cases :directory '/test/fixtures/timing.csv'
\set SHOW_CONTEXT never
SET timezone = 'Asia/Tokyo';		-- must not matter

CREATE TABLE timing_case (number int, timing text, time_zone text, after timestamptz, due timestamptz);
COPY timing_case FROM :'cases' WITH (FORMAT csv, HEADER);
SELECT count(*) > 800 AS many, count(DISTINCT time_zone) AS zones FROM timing_case;
-- None is due at another time.
SELECT *, pynomaly.next_due(timing, time_zone, after) AS got FROM timing_case
WHERE pynomaly.next_due(timing, time_zone, after) <> due;

-- Intervals: anchor + n * interval, without drift.
SELECT n, pynomaly.next_due('1 month', 'UTC', ('2025-01-31 10:00+00'::timestamptz AT TIME ZONE 'UTC' + (n - 1) * interval '1 month') AT TIME ZONE 'UTC', '2025-01-31 10:00+00')
    AT TIME ZONE 'UTC' AS due, '2025-01-31 10:00'::timestamp + n * interval '1 month' AS expected
FROM generate_series(1, 4) AS n;
SELECT count(*) FROM generate_series(1, 500) AS n
WHERE pynomaly.next_due('90 seconds', 'UTC', '2025-01-01 00:00+00'::timestamptz + (n * 90 - 1) * interval '1 second', '2025-01-01 00:00+00')
    <> '2025-01-01 00:00+00'::timestamptz + n * interval '90 seconds';
SELECT pynomaly.next_due('1 second', 'UTC', '2500-01-01 00:00+00', '2000-01-01 00:00+00') = '2500-01-01 00:00:01+00' AS far;
SELECT pynomaly.next_due('@daily', 'Europe/Berlin', '2025-06-01 12:00+00') = '2025-06-01 22:00+00' AS daily;
SELECT pynomaly.next_due('0 0 29 feb *', 'UTC', '2025-01-01 00:00+00') = '2028-02-29 00:00+00' AS leap_day;

-- What is no timing.
SELECT pynomaly.next_due('now and then');
\set VERBOSITY terse
SELECT pynomaly.next_due('');
SELECT pynomaly.next_due('* * * *');
SELECT pynomaly.next_due('60 * * * *');
SELECT pynomaly.next_due('* 24 * * *');
SELECT pynomaly.next_due('* * 0 * *');
SELECT pynomaly.next_due('* * * 13 *');
SELECT pynomaly.next_due('* * * * 8');
SELECT pynomaly.next_due('5-1 * * * *');
SELECT pynomaly.next_due('*/0 * * * *');
SELECT pynomaly.next_due('1,,2 * * * *');
SELECT pynomaly.next_due('0 0 30 2 *');
SELECT pynomaly.next_due('@reboot');
SELECT pynomaly.next_due('-5 minutes');
SELECT pynomaly.next_due('0.5 seconds');
SELECT pynomaly.next_due('1 month -1 day');
SELECT pynomaly.next_due('1 day', 'Europe/Atlantis');
SELECT pynomaly.next_due('1 day', 'UTC', 'infinity');
