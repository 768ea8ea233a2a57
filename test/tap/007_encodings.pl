#
# 007_encodings.pl
#	The same texts and names give the same models in a database of any encoding, and what is no text breaks nothing.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('encodings');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->start;

my $setup = q{
	SET client_encoding = 'UTF8';
	CREATE EXTENSION pynomaly;
	CREATE TABLE menu (id int PRIMARY KEY, "größe" float8, "spécialité" text);
	INSERT INTO menu SELECT i, i % 13, (ARRAY['crème brûlée', 'Käse', 'Knödel'])[1 + i % 3] FROM generate_series(1, 600) AS i;
	UPDATE menu SET "spécialité" = 'Überraschung' WHERE id = 7;
};
my $model = q{SELECT md5(pynomaly.fit(pynomaly.sketch_of('menu'), 'ecod')::text)};
my $reasons = q{SET client_encoding = 'UTF8'; SELECT key, reasons FROM pynomaly.anomalies('menu', algorithm => 'ecod', contamination => 0.002)};
my (%models, %answers);
foreach my $encoding (qw(UTF8 LATIN1 LATIN9 WIN1252))
{
	$node->safe_psql('postgres', "CREATE DATABASE \L$encoding\E TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	$node->safe_psql(lc $encoding, $setup);
	$models{ $node->safe_psql(lc $encoding, $model) } .= "$encoding ";
	$answers{ $node->safe_psql(lc $encoding, $reasons) } .= "$encoding ";
}
is(join(', ', values %models), 'UTF8 LATIN1 LATIN9 WIN1252 ', 'models have the same bytes in each encoding');
is(join(', ', values %answers), 'UTF8 LATIN1 LATIN9 WIN1252 ', 'reasons read the same');
like((keys %answers)[0], qr/"feature": "spécialité", .*|"value": "Überraschung"/, 'names and texts are whole');

# A model whose names another encoding cannot write.
my $text = $node->safe_psql('utf8', q{CREATE TABLE cyrillic AS SELECT i AS "цена" FROM generate_series(1, 99) AS i;
	SELECT pynomaly.fit(pynomaly.sketch_of('cyrillic', '{цена}'))});
my ($code, $out, $err) = $node->psql('latin1', "SELECT pynomaly.score('$text'::pynomaly.model, 5) IS NOT NULL");
is($out, 't', 'a model from elsewhere scores where its names cannot be written');
($code, $out, $err) = $node->psql('latin1', "SELECT ('$text'::pynomaly.model)::jsonb", on_error_stop => 1);
like($err, qr/has no equivalent in encoding "LATIN1"/, 'what it says of itself is refused there, by name');

# SQL_ASCII: bytes that are no UTF-8 are told apart, not shown.
$node->safe_psql('postgres', "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
$node->safe_psql('ascii', q{
	CREATE EXTENSION pynomaly;
	CREATE TABLE bytes (id int PRIMARY KEY, t text, n int);
	INSERT INTO bytes SELECT i, E'\\\\xff' || chr(65 + i % 3), i % 7 FROM generate_series(1, 300) AS i;
	UPDATE bytes SET t = E'\xfe\xff' WHERE id = 5;
} =~ s/\\\\\\\\xff/\\xff/r);
is($node->safe_psql('ascii', q{SELECT key FROM pynomaly.anomalies('bytes', algorithm => 'ecod', contamination => 0.003)}), '{"id": 5}',
	'bytes that are no text are categories like any other');
is($node->safe_psql('ascii', q{SELECT count(*) FROM pynomaly.detect('bytes', options => '{"explain": "all"}')
	WHERE length(reasons::text) > 10}), '300', 'and can be explained');
is($node->safe_psql('ascii', q{SELECT c -> 'distinct' FROM jsonb_array_elements(pynomaly.sketch_of('bytes', '{t}')::jsonb -> 'columns') AS c}), '4',
	'and counted');
$node->stop;
done_testing();
