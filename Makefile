# pynomaly: builds the library and the install script, runs the tests and the demo.
#
#	make && sudo make install       for the PostgreSQL that pg_config belongs to (else PG_CONFIG=/path/pg_config)
#	make demo                       a server of its own, with data and what pynomaly finds in it
#	make test                       every suite, on servers of its own

PG_CONFIG ?= pg_config
export PG_CONFIG

EXTENSION = pynomaly
MODULE_big = pynomaly
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" pynomaly.control)

# A folder may use those before it.  The domains do not know each other, so their order cannot matter; the
# architecture check builds them in reverse to prove it.
DOMAIN_ORDER ?= data_science data_quality data_profiling mlops
FOLDERS = kernel numeric sketch detectors series $(DOMAIN_ORDER) gateway import

SOURCES := $(foreach folder,$(FOLDERS),$(sort $(wildcard src/$(folder)/*.c))) $(wildcard src/pynomaly.c)
OBJS = $(SOURCES:.c=.o)

# The install script is put together from the folders' parts: src/<folder>/sql/, and each domain's tables and contract.
SQL_PARTS := $(foreach folder,$(FOLDERS),$(sort $(wildcard src/$(folder)/sql/*.sql)) \
	$(wildcard src/$(folder)/tables.sql) $(wildcard src/$(folder)/contract.sql))
EXTENSION_SQL = pynomaly--$(EXTVERSION).sql
DATA = $(sort $(wildcard updates/*.sql))
DATA_built = $(EXTENSION_SQL)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=pynomaly

# Bit-identical models need arithmetic that no compiler contracts, so neither fused multiply-adds nor bitcode that the
# server's JIT would optimise anew.  No other module overrides our functions: calls inside the library may be direct.
PG_CPPFLAGS = -I$(srcdir)/src -MMD -MP
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Werror=implicit-function-declaration \
	-ffp-contract=off -fno-semantic-interposition
PG_LDFLAGS = $(if $(filter linux,$(PORTNAME)),-Wl$(comma)-Bsymbolic-functions)
comma := ,
override with_llvm = no

EXTRA_CLEAN = $(wildcard pynomaly--*.sql) $(wildcard src/*.o src/*/*.o src/*.d src/*/*.d) \
	results regression.diffs regression.out

all:

# Without a server the demo and the tests can still be asked for: they install what is missing first.
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
include $(PGXS)
else
all install uninstall clean:
	@echo "$(PG_CONFIG) finds no PGXS: run scripts/install-packages, or set PG_CONFIG" >&2; exit 1
endif

-include $(wildcard $(OBJS:.o=.d))
$(OBJS): Makefile

# A folder's time changes when a part is added or removed.
$(EXTENSION_SQL): $(SQL_PARTS) $(wildcard src/*/sql) pynomaly.control Makefile
	{ printf '%s\n' '\echo Use "CREATE EXTENSION pynomaly" to load this file. \quit'; \
	  for part in $(SQL_PARTS); do printf '\n-- %s\n' "$$part"; cat "$$part"; done; } >$@.new
	mv $@.new $@

.PHONY: test archcheck demo demo-stop print-domains

test:
	test/run

archcheck: all
	test/arch/archcheck

demo:
	scripts/demo

demo-stop:
	scripts/demo stop

# For the tests.
print-domains:
	@echo $(DOMAIN_ORDER)
