#
# 002_read_only.pl
#	The pure calls write nothing: they work on a hot standby and in read-only transactions, and give what the primary
#	gives.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly;
	CREATE TABLE reading (id int PRIMARY KEY, level float8, place text, at timestamptz);
	INSERT INTO reading
		SELECT i, sin(i) * 10, CASE WHEN i % 97 = 0 THEN 'attic' ELSE 'room ' || i % 4 END,
			'2026-01-01'::timestamptz + i * interval '11 minutes'
		FROM generate_series(1, 5000) AS i;
	CREATE TABLE model AS SELECT pynomaly.fit(pynomaly.sketch_of('reading')) AS model;
});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

my %calls = (
	'sketch_of' => q{SELECT md5(pynomaly.sketch_of('reading')::text)},
	'sketch_agg' => q{SELECT md5(pynomaly.sketch_agg(NULL, pynomaly.row_key(id), r)::text) FROM reading AS r},
	'merge' => q{SELECT md5(pynomaly.merge(pynomaly.sketch_of('reading'))::text) FROM generate_series(1, 2)},
	'fit' => q{SELECT md5(pynomaly.fit(pynomaly.sketch_of('reading'))::text)},
	'score' => q{SELECT sum(pynomaly.score(model, r)) FROM reading AS r, model},
	'is_anomaly' => q{SELECT count(*) FILTER (WHERE pynomaly.is_anomaly(model, r)) FROM reading AS r, model},
	'explain' => q{SELECT pynomaly.explain(model, r) FROM reading AS r, model WHERE id = 97},
	'algorithms' => q{SELECT count(*) FROM pynomaly.algorithms()},
	'detect' => q{SELECT md5(string_agg(d::text, ',' ORDER BY d.key)) FROM pynomaly.detect('reading') AS d},
	'anomalies' => q{SELECT md5(string_agg(a::text, ',')) FROM pynomaly.anomalies('reading') AS a},
	'detect_query' => q{SELECT md5(string_agg(d::text, ',' ORDER BY d.key))
		FROM pynomaly.detect_query('SELECT * FROM reading', key => '{id}') AS d},
	'a sort that spills' => q{SET work_mem = '64kB'; SELECT count(*) FROM pynomaly.anomalies('reading', contamination => 0.5)},
);

foreach my $name (sort keys %calls)
{
	my $expected = $primary->safe_psql('postgres', $calls{$name});
	my $read_only = $primary->safe_psql('postgres', "BEGIN READ ONLY; $calls{$name}; COMMIT");
	my ($code, $out, $err) = $standby->psql('postgres', $calls{$name});

	isnt($expected, '', "$name gives a result");
	is($read_only, $expected, "$name gives the same in a read-only transaction");
	is($out, $expected, "$name gives the same on a hot standby") or diag $err;
}

is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'and the standby is still one');
$standby->stop;
$primary->stop;
done_testing();
