-- api.sql
--	The shape of the public interface.
BEGIN;
SELECT plan(2);

SELECT has_extension('pynomaly');
SELECT has_schema('pynomaly');

SELECT * FROM finish();
ROLLBACK;
