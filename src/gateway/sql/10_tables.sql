-- What the gateway owns: requests, their reports, limits, and where public calls lead.

CREATE SCHEMA pynomaly_gateway;
COMMENT ON SCHEMA pynomaly_gateway IS 'pynomaly: requests, reports and limits';
SELECT pynomaly_kernel.add_grant('USAGE', 'SCHEMA', 'pynomaly_gateway', 'pynomaly_viewer');

CREATE TABLE pynomaly_gateway.request (
    id uuid PRIMARY KEY,
    owner regrole NOT NULL,
    source text NOT NULL,
    arguments jsonb NOT NULL,
    idempotency_key text COLLATE "C",
    submitted_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_gateway.request IS 'detections that were submitted; how far each is, is in the view pynomaly.requests';
COMMENT ON COLUMN pynomaly_gateway.request.id IS 'also the subject and the correlation_id of its events';
COMMENT ON COLUMN pynomaly_gateway.request.idempotency_key IS 'submitting again with the same key gives this request';
CREATE UNIQUE INDEX request_idempotency_key_idx ON pynomaly_gateway.request (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX request_owner_idx ON pynomaly_gateway.request (owner, submitted_at);
SELECT pg_catalog.pg_extension_config_dump('pynomaly_gateway.request', '');

CREATE TABLE pynomaly_gateway.report (
    request uuid PRIMARY KEY REFERENCES pynomaly_gateway.request ON DELETE CASCADE,
    owner regrole NOT NULL,
    report jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE pynomaly_gateway.report IS 'what came of a request, from all domains';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_gateway.report', '');

CREATE TABLE pynomaly_gateway.role_limit (
    role regrole PRIMARY KEY,
    max_active integer CHECK (max_active >= 0),
    max_per_hour integer CHECK (max_per_hour >= 0)
);
COMMENT ON TABLE pynomaly_gateway.role_limit IS 'how much a role and its members may ask for; of several roles the lowest limit counts';
COMMENT ON COLUMN pynomaly_gateway.role_limit.max_active IS 'requests of one member at a time that have not ended; NULL: no limit';
COMMENT ON COLUMN pynomaly_gateway.role_limit.max_per_hour IS 'requests of one member in any hour; NULL: no limit';
SELECT pg_catalog.pg_extension_config_dump('pynomaly_gateway.role_limit', '');

CREATE TABLE pynomaly_gateway.route (
    call name PRIMARY KEY,
    domain name NOT NULL,
    operation name NOT NULL,
    member text
);
COMMENT ON TABLE pynomaly_gateway.route IS 'which operation a public call leads to; its arguments have the same names';
COMMENT ON COLUMN pynomaly_gateway.route.member IS 'of the operation''s result, which is the call''s; NULL: all of it';

ALTER TABLE pynomaly_gateway.request ENABLE ROW LEVEL SECURITY;
ALTER TABLE pynomaly_gateway.report ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pynomaly_gateway.request FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own ON pynomaly_gateway.report FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
COMMENT ON POLICY own ON pynomaly_gateway.request IS 'rows of one''s own roles';
COMMENT ON POLICY own ON pynomaly_gateway.report IS 'rows of one''s own roles';
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_gateway.request', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_gateway.report', 'pynomaly_viewer');
SELECT pynomaly_kernel.add_grant('SELECT', 'TABLE', 'pynomaly_gateway.role_limit', 'pynomaly_admin');

CREATE VIEW pynomaly.requests WITH (security_barrier) AS
    SELECT r.id, r.source, r.owner, s.state AS status,
        CASE WHEN s.ended_at IS NULL THEN d.steps -> (s.step - 1) ->> 'step' END AS step,
        s.sqlstate, s.message, s.detail, s.hint, r.arguments, r.idempotency_key, r.submitted_at, s.ended_at
    FROM pynomaly_gateway.request r
        JOIN pynomaly_kernel.saga s ON s.id = r.id
        JOIN pynomaly_kernel.saga_definition d ON d.name = s.definition
    WHERE pg_catalog.pg_has_role(r.owner, 'USAGE');
COMMENT ON VIEW pynomaly.requests IS
    'submitted detections: running (with the step in progress), completed, stopped (by a quality gate, see the message), cancelling, cancelled, failing or failed (with the reason)';

CREATE VIEW pynomaly.timeline WITH (security_barrier) AS
    SELECT s.id AS request, t.step, t.name, t.domain, t.state, t.caused_at, t.ended_at,
        t.ended_at - t.caused_at AS took, t.seconds AS worked_seconds, t.event_id
    FROM pynomaly_kernel.saga s
        CROSS JOIN LATERAL (
            SELECT p.step, p.name, p.domain, p.state,
                coalesce(pg_catalog.lag(p.ended_at) OVER (ORDER BY p.step), s.created_at) AS caused_at,
                p.ended_at, p.seconds, p.event_id
            FROM pynomaly_kernel.saga_step p WHERE p.saga = s.id
            UNION ALL
            SELECT s.step, d.steps -> (s.step - 1) ->> 'step', (d.steps -> (s.step - 1) ->> 'domain')::name, 'in progress',
                coalesce((SELECT pg_catalog.max(p.ended_at) FROM pynomaly_kernel.saga_step p WHERE p.saga = s.id), s.created_at),
                NULL, NULL, NULL
            FROM pynomaly_kernel.saga_definition d WHERE d.name = s.definition AND s.ended_at IS NULL) AS t
    WHERE pg_catalog.pg_has_role(s.owner, 'USAGE');
COMMENT ON VIEW pynomaly.timeline IS
    'the steps of requests: caused_at, when the event was published that the step handles; took, until it published its own; worked_seconds, without the time that it waited for its turn and for the commit';
