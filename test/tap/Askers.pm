#
# Askers.pm
#	A server on which roles ask pynomaly, and what tests of their rights share: each call as a role, and what comes of it.
#
package Askers;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(start_server sql as try_all work submit outcome);

my $node;

# Starts a server with the extension, its roles, adam, who administers it, and public.try; gives the node.
sub start_server
{
	my ($name, @settings) = @_;
	$node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', join '', map { "$_\n" } 'autovacuum = off', 'pynomaly.kernel_retry_delay = 1ms', @settings);
	$node->start;
	sql(q{
		CREATE EXTENSION pynomaly;
		SELECT pynomaly.create_roles();
		CREATE ROLE adam LOGIN;
		GRANT pynomaly_admin TO adam;
		CREATE FUNCTION public.try(command text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			answer record;
		BEGIN
			EXECUTE command INTO answer;
			RETURN 'row: ' || coalesce(answer::text, '-');
		EXCEPTION WHEN OTHERS THEN
			RETURN sqlstate || ': ' || sqlerrm;
		END $$;
	});
	return $node;
}

sub sql { return $node->safe_psql('postgres', $_[0]); }

# As a role; gives output and error, without the NOTICE that no worker runs.
sub as
{
	my ($role, $command) = @_;
	my (undef, $out, $err) = $node->psql('postgres', $command, extra_params => [ '-U', $role ]);
	$err =~ s/^(psql:<stdin>:\d+: )?(NOTICE|HINT): .*(no background worker|pynomaly\.start).*\n?//mg;
	return "$out$err";
}

# What comes of each command, as a role: its first row, or its error.
sub try_all
{
	my ($role, @commands) = @_;
	my @answers = split /^-- /m, as($role, join '', map { "SELECT '-- ' || public.try(\$try\$$_\$try\$);" } @commands);
	shift @answers;
	chomp @answers;
	return @answers;
}

# Does what waits, as an administrator.
sub work { is(as('adam', join '', @_, 'CALL pynomaly.process_events()'), '', 'what waits is done'); return; }

sub submit
{
	my ($role, $arguments) = @_;
	my $id = as($role, "SELECT pynomaly.submit($arguments)");
	like($id, qr/^[0-9a-f-]{36}$/, "$role submits $arguments");
	return $id;
}

sub outcome { return sql("SELECT concat_ws(': ', status, sqlstate, message, detail) FROM pynomaly.requests WHERE id = '$_[0]'"); }

1;
