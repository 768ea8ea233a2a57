#
# 008_compilers.pl
#	Models, scores and contributions have the same bits from differently compiled programs: for any CPU, and for one with
#	AVX2 and FMA.
#
# The detectors choose between variants of their inner loops by what the CPU has, where no tunable masks it; so programs are
# compared that are compiled for the one and for the other.
#
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir();

# What a program compiled with these options says of each detector and table.
sub digests
{
	my ($name, @options) = @_;
	system_or_bail('test/standalone-build', 'test/standalone/same_bits.c', "$folder/$name", @options);
	my ($out, $err) = run_command([ "$folder/$name", 'digest' ]);
	return { map { /^(.*): ([0-9a-f]{32})$/ ? ($1 => $2) : ("unreadable $_" => '') } split /\n/, $out };
}

my $plain = digests('plain', '-O2', '-fno-tree-vectorize', '-DPYN_ONE_VARIANT');
cmp_ok(scalar keys %$plain, '>', 10, 'every detector has its digests');
is(join(' ', grep { /unreadable/ } keys %$plain), '', 'each of them can be read');
my $chosen = digests('chosen', '-O2');
is_deeply($chosen, $plain, 'the variants that this CPU chooses give the same bits as plain loops');
SKIP:
{
	# No CPU without AVX2 and FMA runs a program that is compiled for them.
	last SKIP unless slurp_file('/proc/cpuinfo') =~ /^flags.*\bavx2\b.*\bfma\b|^flags.*\bfma\b.*\bavx2\b/m;
	is_deeply(digests('avx2', '-O3', '-mavx2', '-mfma'), $plain, 'a program compiled for AVX2 and FMA gives the same bits');
}
done_testing();
