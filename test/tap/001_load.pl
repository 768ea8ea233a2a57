#
# 001_load.pl
#	The extension comes and goes without leaving anything behind, and needs no preloading.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What a database holds beyond a fresh one, as text.
my $leftovers = q{
	SELECT string_agg(thing, ', ' ORDER BY thing) FROM (
		SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'pynomaly%'
		UNION ALL
		SELECT 'extension ' || extname FROM pg_extension WHERE extname = 'pynomaly'
		UNION ALL
		SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE probin LIKE '%pynomaly%'
		UNION ALL
		SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'pynomaly%') AS things (thing)};

my $node = PostgreSQL::Test::Cluster->new('load');
$node->init;
$node->start;

is($node->safe_psql('postgres', 'SHOW shared_preload_libraries'), '', 'nothing is preloaded');

my ($code, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION pynomaly');
is($code, 0, 'CREATE EXTENSION pynomaly succeeds') or diag $err;
is($err, '', 'and says nothing');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'pynomaly'}), '1',
	'the extension is there');

($code, $out, $err) = $node->psql('postgres', 'DROP EXTENSION pynomaly');
is($code, 0, 'DROP EXTENSION pynomaly succeeds') or diag $err;
is($node->safe_psql('postgres', $leftovers), '', 'dropping the extension leaves nothing behind');

$node->safe_psql('postgres', 'CREATE EXTENSION pynomaly; DROP EXTENSION pynomaly; CREATE EXTENSION pynomaly');
$node->safe_psql('postgres', 'DROP EXTENSION pynomaly');
pass('it can be created again');

$node->safe_psql('postgres', 'CREATE DATABASE other');
($code, $out, $err) = $node->psql('other', 'BEGIN; CREATE EXTENSION pynomaly; ROLLBACK', on_error_stop => 1);
is($code, 0, 'creating it in a transaction that is rolled back succeeds') or diag $err;
is($node->safe_psql('other', $leftovers), '', 'a rolled-back creation leaves nothing behind');

$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'pynomaly'});
$node->restart;
is($node->safe_psql('postgres', 'SHOW shared_preload_libraries'), 'pynomaly', 'the server starts with the library preloaded');
is($node->psql('other', 'CREATE EXTENSION pynomaly; DROP EXTENSION pynomaly', on_error_stop => 1), 0,
	'the extension is created and dropped with the library preloaded');

$node->stop;
done_testing();
