-- privileges.sql
--	What each role may do with each object, as privileges.csv has it, and what must hold of any such list.
--
-- privileges.csv has a line for each schema, table, view, sequence, function and procedure of ours, with what the role has
-- after create_roles(), its own or by a role that it belongs to; a star is the right to grant it on.  It is a text for
-- review: whoever changes a privilege changes its line.
BEGIN;
SELECT no_plan();

-- Everything of ours, by class and OID.
CREATE TEMPORARY VIEW object (kind, name, id, owner, acl) AS
    SELECT 'schema', oid::regnamespace::text, oid, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace WHERE nspname = 'pynomaly' OR starts_with(nspname, 'pynomaly_')
    UNION ALL
    SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END, oid::regclass::text, oid, relowner,
        coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
    FROM pg_class WHERE (relnamespace::regnamespace::text = 'pynomaly' OR starts_with(relnamespace::regnamespace::text, 'pynomaly_'))
        AND relkind NOT IN ('i', 'I', 'c', 't')
    UNION ALL
    SELECT CASE prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, oid::regprocedure::text, oid, proowner,
        coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc WHERE pronamespace::regnamespace::text = 'pynomaly' OR starts_with(pronamespace::regnamespace::text, 'pynomaly_');

-- What a role has of an object, its own privileges and those of PUBLIC and of its roles.
CREATE FUNCTION pg_temp.has(role name, kind text, id oid, privilege text) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE kind WHEN 'schema' THEN has_schema_privilege(role, id, privilege)
        WHEN 'sequence' THEN has_sequence_privilege(role, id, privilege)
        WHEN 'function' THEN has_function_privilege(role, id, privilege)
        WHEN 'procedure' THEN has_function_privilege(role, id, privilege)
        ELSE has_table_privilege(role, id, privilege) OR
            privilege ~ '^(SELECT|INSERT|UPDATE|REFERENCES)' AND has_any_column_privilege(role, id, privilege) END $$;
CREATE FUNCTION pg_temp.privileges(role name, kind text, id oid) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(privilege || CASE WHEN pg_temp.has(role, kind, id, privilege || ' WITH GRANT OPTION') THEN '*' ELSE '' END, ' ' ORDER BY place)
    FROM unnest(CASE kind WHEN 'schema' THEN ARRAY['USAGE', 'CREATE'] WHEN 'sequence' THEN ARRAY['USAGE', 'SELECT', 'UPDATE']
                WHEN 'function' THEN ARRAY['EXECUTE'] WHEN 'procedure' THEN ARRAY['EXECUTE']
                ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'] END)
        WITH ORDINALITY AS known (privilege, place)
    WHERE pg_temp.has(role, kind, id, privilege) $$;
CREATE TEMPORARY VIEW granted AS
    SELECT o.kind, o.name, acl.grantee, coalesce(nullif(acl.grantee, 0)::regrole::text, 'PUBLIC') AS role, acl.privilege_type AS privilege,
        acl.is_grantable
    FROM object o, aclexplode(o.acl) AS acl WHERE acl.grantee <> o.owner;

-- ---------------------------------------------------------------- before create_roles()

CREATE FUNCTION pg_temp.is_pure(call text) RETURNS boolean LANGUAGE sql AS $$
    SELECT call ~ ('^pynomaly\.(detect|detect_query|anomalies|fit|score|is_anomaly|explain|counterfactual|evaluate|compare|algorithms|row_key|sketch_of|sketch_agg|merge'
                   '|sketch_accumulate|sketch_combine|(model|sketch)_(in|out|recv|send|to_jsonb))\(') $$;
SELECT is((SELECT string_agg(kind || ' ' || name, ', ') FROM granted WHERE NOT (role = 'PUBLIC' AND (kind = 'schema' OR pg_temp.is_pure(name)))), NULL,
          'CREATE EXTENSION grants nothing but the pure calls');

-- Roles of these names that somebody else has made, whether or not the cluster has pynomaly's already.
CREATE FUNCTION pg_temp.make_foreign(role name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role);
    END IF;
    EXECUTE format('COMMENT ON ROLE %I IS NULL', role);
END $$;
CREATE FUNCTION pg_temp.refusal() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    PERFORM pynomaly.create_roles();
    RETURN 'it was accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', sqlstate, sqlerrm, hint);
END $$;
CREATE TEMPORARY TABLE known_role (role name, place int);
INSERT INTO known_role VALUES ('pynomaly_viewer', 1), ('pynomaly_analyst', 2), ('pynomaly_data_scientist', 3), ('pynomaly_admin', 4),
    ('pynomaly_service', 5);
CREATE TEMPORARY TABLE had_role AS SELECT rolname FROM pg_roles;
CREATE FUNCTION pg_temp.test_foreign(role name) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    BEGIN
        PERFORM pg_temp.make_foreign(role);
        said := pg_temp.refusal();
        RETURN NEXT matches(said, '^42710 \| role "' || role || '" exists and is not pynomaly''s \| Rename it', 'somebody else''s role ' || role || ' is refused with a hint');
        RETURN NEXT is((SELECT string_agg(g.role || ' ' || g.name, ', ') FROM granted g WHERE g.role <> 'PUBLIC'), NULL, 'and with ' || role || ' nothing is granted');
        RETURN NEXT is((SELECT string_agg(rolname, ', ') FROM pg_roles WHERE starts_with(rolname, 'pynomaly_') AND rolname <> role
                        AND rolname NOT IN (SELECT rolname FROM had_role)), NULL, 'nor is another role made beside ' || role);
        EXECUTE substring(said FROM 'COMMENT ON ROLE .*''(?=\.)');
        RETURN NEXT is(pg_temp.refusal(), 'it was accepted', 'with the comment that the hint names ' || role || ' is pynomaly''s');
        RAISE EXCEPTION 'undo' USING ERRCODE = 'TAP01';
    EXCEPTION WHEN SQLSTATE 'TAP01' THEN
        -- as if nothing had been
    END;
END $$;
SELECT pg_temp.test_foreign(role) FROM known_role ORDER BY place;

-- ---------------------------------------------------------------- the matrix

SELECT lives_ok('SELECT pynomaly.create_roles()', 'create_roles() makes the roles');
CREATE TEMPORARY VIEW matrix (kind, object, "PUBLIC", viewer, analyst, data_scientist, admin, service) AS
    SELECT kind, name, pg_temp.privileges('public', kind, id), pg_temp.privileges('pynomaly_viewer', kind, id),
        pg_temp.privileges('pynomaly_analyst', kind, id), pg_temp.privileges('pynomaly_data_scientist', kind, id),
        pg_temp.privileges('pynomaly_admin', kind, id), pg_temp.privileges('pynomaly_service', kind, id)
    FROM object;
-- The line that writes the expected file, to be used by hand and read before it is committed:
-- \copy (SELECT * FROM matrix ORDER BY array_position('{schema,table,view,sequence,function,procedure}', kind), object COLLATE "C") TO test/pgtap/privileges.csv (FORMAT csv, HEADER)
CREATE TEMPORARY TABLE expected (kind text, object text, "PUBLIC" text, viewer text, analyst text, data_scientist text, admin text, service text);
\copy expected FROM test/pgtap/privileges.csv (FORMAT csv, HEADER MATCH)
CREATE TEMPORARY TABLE found AS SELECT * FROM matrix;
CREATE FUNCTION pg_temp.line("PUBLIC" text, viewer text, analyst text, data_scientist text, admin text, service text) RETURNS text LANGUAGE sql AS $$
    SELECT format('PUBLIC: %s, viewer: %s, analyst: %s, data_scientist: %s, admin: %s, service: %s', "PUBLIC", viewer, analyst, data_scientist, admin, service) $$;
SELECT is(CASE WHEN f.kind IS NULL THEN 'there is no such object' ELSE pg_temp.line(f."PUBLIC", f.viewer, f.analyst, f.data_scientist, f.admin, f.service) END,
          CASE WHEN e.kind IS NULL THEN 'privileges.csv has no such line' ELSE pg_temp.line(e."PUBLIC", e.viewer, e.analyst, e.data_scientist, e.admin, e.service) END,
          kind || ' ' || object || ' may be used by whom privileges.csv says')
FROM found f FULL JOIN expected e USING (kind, object) ORDER BY kind, object COLLATE "C";
SELECT cmp_ok((SELECT count(*) FROM found), '>=', 180::bigint, 'there are objects to look at');

SELECT lives_ok('SELECT pynomaly.create_roles()', 'create_roles() may be called again');
SELECT is((SELECT string_agg(object, ', ') FROM (SELECT * FROM matrix EXCEPT SELECT * FROM found) AS changed), NULL, 'which changes nothing');
SELECT is((SELECT string_agg(format('%s %s %s', role, privilege, name), ', ') FROM granted WHERE is_grantable), NULL, 'nobody may grant on');

-- Grants are data.  What stands there is granted, and nothing else.
CREATE TEMPORARY TABLE noted AS
    SELECT CASE kind WHEN 'SCHEMA' THEN object::regnamespace::text WHEN 'TABLE' THEN object::regclass::text ELSE object::regprocedure::text END AS name,
        privilege, role::text
    FROM pynomaly_kernel.role_grant;
SELECT is((SELECT string_agg(concat_ws(' ', role, privilege, name), ', ') FROM (SELECT name, privilege, role FROM granted WHERE role <> 'PUBLIC'
           EXCEPT SELECT * FROM noted) AS missing), NULL, 'whatever is granted to a role is noted in role_grant');
SELECT is((SELECT string_agg(concat_ws(' ', role, privilege, name), ', ') FROM (SELECT * FROM noted EXCEPT SELECT name, privilege, role FROM granted) AS missing),
          NULL, 'and whatever is noted there is granted');

-- ---------------------------------------------------------------- what must hold of any matrix

SELECT is((SELECT string_agg(format('%s %s %s', role, privilege, name), ', ') FROM granted WHERE kind IN ('table', 'view') AND privilege <> 'SELECT'), NULL,
          'nobody but the owner may INSERT, UPDATE, DELETE, TRUNCATE, refer to or put a trigger on anything of ours');
SELECT is((SELECT string_agg(o.name || '.' || attname, ', ') FROM object o JOIN pg_attribute ON attrelid = o.id
           WHERE o.kind IN ('table', 'view') AND attacl IS NOT NULL), NULL, 'nor is anything granted on a column');
SELECT is((SELECT string_agg(format('%s %s', role, name), ', ') FROM granted WHERE kind = 'sequence'), NULL, 'nor on a sequence');
SELECT is((SELECT string_agg(format('%s %s', role, name), ', ') FROM granted WHERE kind = 'schema' AND privilege <> 'USAGE'), NULL,
          'nobody but the owner may create anything in our schemas');
SELECT is((SELECT string_agg(DISTINCT owner::regrole::text, ', ') FROM object), (SELECT extowner::regrole::text FROM pg_extension WHERE extname = 'pynomaly'),
          'all of it belongs to the extension''s owner');
SELECT is((SELECT string_agg(name, ', ') FROM object WHERE kind = 'table' AND NOT EXISTS (
               SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = id AND refclassid = 'pg_extension'::regclass AND deptype = 'e')), NULL,
          'and every table is the extension''s own');

SELECT is((SELECT string_agg(name, ', ' ORDER BY name) FROM granted WHERE role = 'PUBLIC' AND kind = 'schema'), 'pynomaly, pynomaly_kernel',
          'PUBLIC may name what is in two schemas');
SELECT is((SELECT string_agg(name, ', ') FROM granted WHERE role = 'PUBLIC' AND kind <> 'schema' AND NOT (kind = 'function' AND pg_temp.is_pure(name))), NULL,
          'and has the pure calls and nothing else');
-- A pure call can be made in a read-only transaction, so it is declared to change nothing.
SELECT is((SELECT string_agg(g.name, ', ') FROM granted g JOIN object o USING (kind, name) JOIN pg_proc p ON p.oid = o.id
           WHERE g.role = 'PUBLIC' AND (p.provolatile = 'v' OR p.prosecdef)), NULL, 'each of which is immutable or stable, and runs as its caller');

-- Tables that roles may read.  Each row has an owner, and is seen by whoever has his privileges.
CREATE TEMPORARY TABLE readable AS SELECT DISTINCT o.kind, o.name, o.id FROM granted g JOIN object o USING (kind, name) WHERE g.privilege = 'SELECT';
SELECT is((SELECT string_agg(r.name, ', ') FROM readable r WHERE kind = 'table' AND NOT EXISTS (
               SELECT FROM pg_attribute WHERE attrelid = r.id AND attname = 'owner' AND atttypid = 'regrole'::regtype AND attnotnull)),
          'pynomaly_gateway.role_limit', 'every table that roles may read says of each row whose it is, except for the limits, which only administrators see');
SELECT is((SELECT string_agg(role, ', ') FROM granted WHERE name = 'pynomaly_gateway.role_limit'), 'pynomaly_admin', 'which is so');
SELECT ok((SELECT relrowsecurity FROM pg_class WHERE oid = r.id), r.name || ' has row-level security')
FROM readable r WHERE kind = 'table' AND name <> 'pynomaly_gateway.role_limit' ORDER BY name;
SELECT is((SELECT string_agg(format('%s %s %s %s', polcmd, polpermissive, polroles, pg_get_expr(polqual, polrelid)), ', ') FROM pg_policy WHERE polrelid = r.id),
          'r t {0} pg_has_role((owner)::oid, ''USAGE''::text)', r.name || ' shows rows to those who have their owner''s privileges, by one policy')
FROM readable r WHERE kind = 'table' AND name <> 'pynomaly_gateway.role_limit' ORDER BY name;
SELECT is((SELECT string_agg(o.name, ', ') FROM object o WHERE kind = 'table' AND NOT (SELECT relrowsecurity FROM pg_class WHERE oid = o.id)
           AND o.name !~ '^pynomaly_kernel\.' AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = o.id AND attname = 'owner')), NULL,
          'a table of a domain with an owner has row-level security even where nobody may read it');

-- Views: with the rights of who asks, so that the tables' policies hold; or with a condition of their own.
CREATE FUNCTION pg_temp.has_option(relation oid, option text) RETURNS boolean LANGUAGE sql AS $$
    SELECT coalesce((SELECT reloptions && ARRAY[option || '=true', option || '=on'] FROM pg_class WHERE oid = relation), false) $$;
SELECT is((SELECT string_agg(name, ', ') FROM object WHERE kind = 'view' AND name <> 'pynomaly_kernel.contract_problem' AND NOT pg_temp.has_option(id, 'security_barrier')),
          NULL, 'every view that roles may read is a security barrier');
SELECT is((SELECT string_agg(name, ', ' ORDER BY name) FROM readable WHERE kind = 'view' AND NOT pg_temp.has_option(id, 'security_invoker')),
          'pynomaly.audit, pynomaly.events, pynomaly.requests, pynomaly.retries, pynomaly.schedules, pynomaly.subscriptions, pynomaly.throughput, pynomaly.timeline',
          'these views read with the owner''s rights');
SELECT is((SELECT string_agg(name, ', ') FROM readable WHERE kind = 'view' AND NOT pg_temp.has_option(id, 'security_invoker')
           AND pg_get_viewdef(id) !~ '\mWHERE pg_has_role\(\(([a-z]+\.)?(owner|publisher)\)::oid, ''USAGE''::text\);$'), 'pynomaly.audit',
          'each of which has as its whole condition that the row''s owner is one''s own role; except for the audit trail');
SELECT is((SELECT string_agg(role, ', ') FROM granted WHERE name = 'pynomaly.audit'), 'pynomaly_admin', 'which only administrators see');

-- Functions.
SELECT is((SELECT string_agg(o.name, ', ' ORDER BY o.name) FROM object o JOIN pg_proc p ON p.oid = o.id WHERE o.kind IN ('function', 'procedure') AND p.prosecdef),
          'pynomaly.health(), pynomaly.services()', 'two functions are SECURITY DEFINER');
SELECT is((SELECT string_agg(o.name, ', ') FROM object o JOIN pg_proc p ON p.oid = o.id JOIN pg_language l ON l.oid = p.prolang
           WHERE o.kind IN ('function', 'procedure') AND l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL
               AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)), NULL,
          'and whatever is written as text has a search_path of its own');
SELECT is((SELECT string_agg(format('%s %s', role, name), ', ' ORDER BY name) FROM granted WHERE kind IN ('function', 'procedure') AND name !~ '^pynomaly\.'),
          'pynomaly_service pynomaly_kernel.drop_artifact(bytea), pynomaly_service pynomaly_kernel.get_artifact(bytea), '
          'pynomaly_service pynomaly_kernel.publish(text,text,jsonb,text), pynomaly_service pynomaly_kernel.put_artifact(text,bytea)',
          'nobody may call a domain''s operation or handler past the door, nor the kernel, save for four calls of services');
SELECT is((SELECT string_agg(name, ', ' ORDER BY name) FROM object o WHERE kind IN ('function', 'procedure') AND name ~ '^pynomaly\.'
           AND NOT EXISTS (SELECT FROM granted g WHERE g.kind = o.kind AND g.name = o.name)), 'pynomaly.create_roles()',
          'every public call may be called by somebody, but create_roles() only by the owner');

-- Nothing of somebody else's runs when our tables are written or read.
SELECT is((SELECT string_agg(o.name || ' ' || tgname, ', ') FROM object o JOIN pg_trigger ON tgrelid = o.id AND NOT tgisinternal), NULL, 'no table has a trigger');
SELECT is((SELECT string_agg(o.name || ' ' || rulename, ', ') FROM object o JOIN pg_rewrite ON ev_class = o.id WHERE rulename <> '_RETURN'), NULL, 'nor a rule');
SELECT is((SELECT count(*) FROM pg_default_acl WHERE defaclnamespace::regnamespace::text ~ '^pynomaly'), 0::bigint, 'and no schema has default privileges');

-- ---------------------------------------------------------------- the roles

SELECT is((SELECT string_agg(rolname, ', ') FROM pg_roles JOIN known_role ON role = rolname
           WHERE rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR NOT rolinherit), NULL,
          'the roles cannot log in and have no attribute that means power');
SELECT is((SELECT string_agg(format('%s in %s%s', m.member::regrole, m.roleid::regrole, CASE WHEN m.admin_option THEN ' with admin option' END), ', '
                             ORDER BY p.place) FROM pg_auth_members m JOIN known_role p ON p.role = m.roleid::regrole::text
           WHERE m.member::regrole::text IN (SELECT role FROM known_role)),
          'pynomaly_analyst in pynomaly_viewer, pynomaly_data_scientist in pynomaly_analyst, pynomaly_admin in pynomaly_data_scientist',
          'each has what the one before it has: viewer, analyst, data scientist, administrator');
SELECT is((SELECT string_agg(m.roleid::regrole::text, ', ') FROM pg_auth_members m JOIN known_role ON role = m.member::regrole::text
           WHERE m.roleid::regrole::text NOT IN (SELECT role FROM known_role)), NULL, 'and they belong to no other role');
SELECT is((SELECT string_agg(role, ', ') FROM known_role WHERE coalesce(shobj_description(role::text::regrole, 'pg_authid'), '') !~ '^pynomaly: '), NULL,
          'their comments mark them as pynomaly''s');

-- A role that is given none of them has no more than PUBLIC.
CREATE ROLE nobody_special;
SELECT is((SELECT string_agg(concat_ws(' ', kind, name), ', ') FROM object WHERE pg_temp.privileges('nobody_special', kind, id) IS DISTINCT FROM pg_temp.privileges('public', kind, id)),
          NULL, 'a role that is a member of none has what PUBLIC has');

SELECT * FROM finish();
ROLLBACK;
