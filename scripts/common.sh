# common.sh
#	What the scripts share; sourced, never run.
#
# PostgreSQL refuses to run as root, but containers and CI often are root.  Then servers and tests run as an
# unprivileged user: postgres where it exists, else nobody.  Everybody else runs them as themselves.

PG_CONFIG=${PG_CONFIG:-pg_config}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# server_user: prints the name of the user who owns and runs scratch servers.
server_user() {
	if [ "$(id -u)" -ne 0 ]; then
		id -un
	elif id postgres >/dev/null 2>&1; then
		echo postgres
	else
		echo nobody
	fi
}

# as_server_user COMMAND...: runs the command as that user; as ourselves unless we are root.
as_server_user() {
	if [ "$(id -u)" -ne 0 ]; then
		"$@"
	elif command -v setpriv >/dev/null; then
		setpriv --reuid="$(server_user)" --regid="$(id -gn "$(server_user)")" --clear-groups \
			env HOME=/nonexistent USER="$(server_user)" LOGNAME="$(server_user)" "$@"
	elif command -v runuser >/dev/null; then
		runuser -u "$(server_user)" -- "$@"
	else
		die "neither setpriv nor runuser is here: cannot run a server as $(server_user)"
	fi
}

# pg_path NAME: prints one of pg_config's directories, e.g. pg_path bindir.
pg_path() {
	"$PG_CONFIG" "--$1" || die "cannot run $PG_CONFIG: set PG_CONFIG, or see scripts/install-packages"
}
