#
# 004_hostile_values.pl
#	Hostile sketches and models of every detector come through SQL: an error or a value that works, and the server lives.
#
# test/standalone/hostile_bytes.c makes them, most with a right checksum; here they pass the input functions of a real
# server in text and binary form, and what is accepted is used.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = 'test/standalone/hostile_bytes.c';
my $program = PostgreSQL::Test::Utils::tempdir() . '/hostile_bytes';
system_or_bail('test/standalone-build', $source, $program, '-O1');

my ($values, $err) = run_command([ $program, 'print', 200 ]);
my @values = split /\n/, $values;
cmp_ok(scalar(@values), '>=', 600, 'hundreds of values are made of each type');

my $node = PostgreSQL::Test::Cluster->new('hostile');
$node->init;
$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pynomaly;
	CREATE TABLE hostile (kind text, bytes text);
	CREATE TABLE sketch (sketch pynomaly.sketch);
	CREATE TABLE model (model pynomaly.model);

	-- Brings a value in as text and uses it: what became of it.
	CREATE FUNCTION attempt(kind text, bytes text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		text_form text := 'pynomaly.' || kind || ':' || replace(encode(decode(bytes, 'hex'), 'base64'), E'\n', '');
		used int;
	BEGIN
		IF kind = 'sketch' THEN
			INSERT INTO sketch VALUES (text_form::pynomaly.sketch);
			SELECT length(text_form::pynomaly.sketch::jsonb::text)
				+ length(pynomaly.fit(text_form::pynomaly.sketch)::text)
				+ length(pynomaly.fit(text_form::pynomaly.sketch, 'ecod')::text) INTO used;
		ELSE
			INSERT INTO model VALUES (text_form::pynomaly.model);
			SELECT length(text_form::pynomaly.model::jsonb::text) INTO used;
			PERFORM pynomaly.explain(text_form::pynomaly.model, r)
				FROM (VALUES (1.5::float8, 'red'::text, timestamptz '2026-01-01', 3), (NULL, NULL, NULL, 1),
					('Infinity', '', 'infinity', -1), (-1e308, 'other', '4000-01-01', 2147483647))
					AS r (amount, colour, at, count);
		END IF;
		RETURN 'valid';
	EXCEPTION WHEN OTHERS THEN
		RETURN SQLSTATE;
	END $$;
});

my $file = PostgreSQL::Test::Utils::tempdir() . '/values';
append_to_file($file, join("\n", map { my ($kind, $bytes) = split / /; "$kind\t" . ($bytes // '') } @values) . "\n");
$node->safe_psql('postgres', "COPY hostile FROM '$file'");
my $outcomes = $node->safe_psql('postgres',
	q{SELECT state, count(*) FROM (SELECT attempt(kind, bytes) AS state FROM hostile) AS o GROUP BY 1 ORDER BY 1});
note($outcomes);
my %count = map { split /\|/ } split /\n/, $outcomes;
ok(($count{valid} // 0) > 0, 'some of them are valid values');
ok(($count{'22P02'} // 0) > 0, 'some are refused with invalid_text_representation');
is(join(' ', grep { $_ !~ /^(valid|22P02|22023|22003|55000|42804|42703)$/ } sort keys %count), '',
	'every other one is refused with an error of its own, none internal');

# The binary form: COPY BINARY of what was accepted, and of a good file that is damaged.
my $binary = PostgreSQL::Test::Utils::tempdir() . '/binary';
$node->safe_psql('postgres', "COPY model TO '$binary' (FORMAT binary); CREATE TABLE again (LIKE model);
	COPY again FROM '$binary' (FORMAT binary)");
is($node->safe_psql('postgres', 'SELECT count(*) FROM again'), $node->safe_psql('postgres', 'SELECT count(*) FROM model'),
	'COPY BINARY gives back every accepted model');
my $bytes = slurp_file($binary);
substr($bytes, length($bytes) / 2, 1) ^= "\x10";
open my $handle, '>', $binary or die;
binmode $handle;
print $handle $bytes;
close $handle;
my ($code, $out, $error) = $node->psql('postgres', "COPY again FROM '$binary' (FORMAT binary)", on_error_stop => 1);
isnt($code, 0, 'a damaged binary file is refused');
like($error, qr/invalid model: its checksum does not match/, 'for its checksum');

is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the server lives');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/, 'no backend ended by a signal');
$node->stop;
done_testing();
