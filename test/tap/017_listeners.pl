#
# 017_listeners.pl
#	Clients outside that LISTEN are told of events that others commit: a hint without data, soon, and in nobody's way.
#
# A listener is a psql of a role that may do nothing else in the database.
#
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;
use Time::HiRes qw(sleep);

my $node = PostgreSQL::Test::Cluster->new('listeners');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'pynomaly'});
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }

my $domain = 'd' x 60;                             # pynomaly_ and this are longer than a name may be
my $long_type = "$domain." . 'n' x 60 . '.v123';    # 126 bytes
sql(qq{
	CREATE EXTENSION pynomaly;
	CREATE ROLE outsider LOGIN;
	SELECT pynomaly_kernel.register_event_type(type, '{}')
		FROM unnest('{shop.paid.v1,shop.shipped.v1,stock.counted.v1,$long_type}'::text[]) AS type;
	CREATE TABLE handled (subject text);
	CREATE FUNCTION handler(event pynomaly_kernel.event) RETURNS void LANGUAGE sql AS
		'INSERT INTO public.handled VALUES (event.subject)';
	SELECT pynomaly.subscribe('*', 'public.handler');
	SELECT pynomaly.start();
});

# A session that listens on channels, and all that it has been told: a list of [channel, payload].
sub listener
{
	my ($name, @channels) = @_;
	my $self = { in => '', out => '', err => '' };
	$self->{timer} = IPC::Run::timeout(180);
	$self->{psql} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . " user=outsider application_name=$name" ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	run($self, join '', map { "LISTEN $_;\n" } @channels);
	return $self;
}

# Runs commands in the listener's session, which then shows what has come.
sub run
{
	my ($self, $commands) = @_;
	my $mark = 'mark ' . ++$self->{marks};
	$self->{timer}->reset;
	$self->{in} .= "$commands\\echo $mark\n";
	$self->{psql}->pump until $self->{out} =~ /^$mark$/m;
}

sub told
{
	my ($self) = @_;
	run($self, "SELECT 1 WHERE false;\n");
	return [ $self->{out} =~ /^Asynchronous notification "(.*?)" with payload "(.*)" received from server process with PID \d+\.$/mg ];
}

# Waits until the listener has been told of the event on the channel; gives the payload.
sub wait_told
{
	my ($self, $channel, $id) = @_;
	foreach (1 .. 1800)
	{
		my @told = @{ told($self) };
		while (my ($on, $payload) = splice @told, 0, 2)
		{
			return $payload if $on eq $channel && $payload =~ /"id": $id\b/;
		}
		sleep 0.1;
	}
	return "never told of $id on $channel";
}

sub publish { return sql("SELECT pynomaly_kernel.publish($_[0])"); }

my $everything = listener('everything', 'pynomaly');
my $shop = listener('shop', 'pynomaly_shop');
my $long = listener('long', "pynomaly_$domain");

# One event.
my $id = publish(q{'shop.paid.v1', 'order "1"', '{"card": "secret number"}'});
my $payload = wait_told($everything, 'pynomaly', $id);
is($payload, qq({"type": "shop.paid.v1", "id": $id, "subject": "order \\"1\\""}), 'a listener on pynomaly is told type, id and subject of an event');
is(wait_told($shop, 'pynomaly_shop', $id), $payload, 'and one on the channel of its domain, the same');
is(sql(qq{SELECT string_agg(key, ' ' ORDER BY key) FROM jsonb_object_keys('$payload') AS key}), 'id subject type', 'the payload is JSON of just these');
my $other = publish(q{'stock.counted.v1', NULL, '{"secret": 1}'});
is(wait_told($everything, 'pynomaly', $other), qq({"type": "stock.counted.v1", "id": $other, "subject": null}), 'no subject is null');

# Not told: what is rolled back, and other domains.
my ($rolled_back) = sql(q{BEGIN; SELECT pynomaly_kernel.publish('shop.shipped.v1', 'never', '{}'); ROLLBACK});
my ($to_savepoint, $kept) = split /\n/, sql(q{BEGIN; SAVEPOINT s; SELECT pynomaly_kernel.publish('shop.paid.v1', 'nor this', '{}');
	ROLLBACK TO s; SELECT pynomaly_kernel.publish('shop.paid.v1', 'kept', '{}'); COMMIT});
like(wait_told($everything, 'pynomaly', $kept), qr/"kept"/, 'what is committed is told');
wait_told($shop, 'pynomaly_shop', $kept);
unlike("@{ told($everything) }", qr/"id": ($rolled_back|$to_savepoint)\b/, 'a transaction and a savepoint that are rolled back tell nothing');
unlike("@{ told($shop) }", qr/stock/, "a domain's channel tells nothing of another domain");

# Subjects of 1,024 bytes: quotes, characters of several bytes, and control characters that become six bytes of JSON.
foreach my $character (q{'x'}, q{'"'}, q{U&'\\20AC'}, q{U&'\\+01F600'}, 'chr(1)')
{
	my $subject = "repeat($character, 1024 / octet_length($character))";
	my $last = publish("'$long_type', $subject, to_jsonb('secret ' || repeat('y', 9000))");
	my $told = wait_told($long, substr("pynomaly_$domain", 0, 63), $last);
	my $length = length $told;
	cmp_ok($length, '<', 1000, "a long subject of $character makes a payload under 1 kB");
	is(sql(qq{SELECT (p ->> 'type') = '$long_type' AND (p ->> 'id')::bigint = $last AND starts_with($subject, p ->> 'subject')
		AND length(p ->> 'subject') > 30 FROM (SELECT \$json\$$told\$json\$::jsonb AS p) AS told}), 't', 'it is JSON and has the beginning of the subject');
}

# A batch of many events is one hint a type, of the last.
my ($first, $last) = split /\|/, sql(q{SELECT min(id), max(id) FROM (SELECT pynomaly_kernel.publish('shop.paid.v1', i::text, '{}') AS id
	FROM generate_series(1, 50) AS i) AS published});
like(wait_told($shop, 'pynomaly_shop', $last), qr/"subject": "50"/, 'the last of fifty events is told');
my $hints = grep { /"id": (\d+)/ && $1 >= $first && $1 <= $last } @{ told($shop) };
cmp_ok($hints, '<', 50, "with fewer hints than events");

# A listener that sleeps in a transaction.
my $sleeper = listener('sleeper', 'pynomaly');
run($sleeper, "BEGIN; SELECT 1 WHERE false;\n");
my $awake = publish(q{'shop.paid.v1', 'while one sleeps', '{}'});
like(wait_told($everything, 'pynomaly', $awake), qr/while one sleeps/, 'others are told while a listener sleeps in a transaction');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM handled WHERE subject = 'while one sleeps'}), 'and handlers run');
unlike("@{ told($sleeper) }", qr/while one sleeps/, 'it is told nothing in its transaction');
run($sleeper, "COMMIT;\n");
like(wait_told($sleeper, 'pynomaly', $awake), qr/while one sleeps/, 'but afterwards');

# Without workers, by process_events().
sql('SELECT pynomaly.stop()');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'pynomaly%' AND datname = 'postgres'}) or die;
my $by_hand = publish(q{'shop.paid.v1', 'by hand', '{}'});
unlike("@{ told($everything) }", qr/by hand/, 'without a worker nobody tells');
sql('CALL pynomaly.process_events()');
like(wait_told($everything, 'pynomaly', $by_hand), qr/by hand/, 'process_events() tells listeners, too');

foreach my $listener ($everything, $shop, $long, $sleeper)
{
	unlike($listener->{out}, qr/secret/, 'no listener was ever told any data');
	unlike($listener->{err}, qr/ERROR|FATAL/, 'or met an error');
	$listener->{in} .= "\\q\n";
	$listener->{psql}->finish;
}
$node->stop;
done_testing();
