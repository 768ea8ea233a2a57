/*
 * address.c
 *		Names of models and aliases, and the addresses of versions that are made of them.
 *
 * A version is addressed as 'name', which means its champion, 'name@alias' or 'name/3'.  Models that nobody named
 * have the name of the relation that they learnt from, as SQL writes it: shop.payments, "Größe"."a@b/c".  So '@' and
 * '/' end the name only outside double quotes, and a name has them only inside.
 */
#include "mlops/mlops.h"

/* The longest name of a relation: schema and table, each of 63 double quotes, which are doubled, and quoted. */
#define MOST_NAME_BYTES (2 * (2 * (NAMEDATALEN - 1) + 2) + 1)
#define MOST_ALIAS_BYTES (NAMEDATALEN - 1)
#define MOST_DIGITS 18			/* of a version's number, that fit an int64 */

/* Finds the first '@' or '/' outside double quotes; NULL if there is none.  *open: a quote is not closed. */
static const char *
find_separator(const char *text, bool *open)
{
	*open = false;
	for (const char *p = text; *p != 0; p++)
	{
		if (*p == '"')
			*open = !*open;
		else if (!*open && (*p == '@' || *p == '/'))
			return p;
	}
	return NULL;
}

/*
 * pyn_mlops_check_model_name refuses what cannot be a model's name.
 */
void
pyn_mlops_check_model_name(const char *name)
{
	bool		open;

	if (name[0] == 0 || strlen(name) > MOST_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a model has %zu bytes", strlen(name)),
				 errhint("It must have 1 to %d.", MOST_NAME_BYTES)));
	if (find_separator(name, &open) != NULL || open)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of a model", name),
				 errhint("A name has \"@\" and \"/\" only between double quotes, as names of relations have them.")));
}

/*
 * pyn_mlops_check_alias refuses what cannot be an alias.
 */
void
pyn_mlops_check_alias(const char *alias)
{
	if (alias[0] == 0 || strlen(alias) > MOST_ALIAS_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("an alias has %zu bytes", strlen(alias)),
				 errhint("It must have 1 to %d.", MOST_ALIAS_BYTES)));
	if (strpbrk(alias, "@/\"") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be an alias", alias),
				 errhint("An alias has neither \"@\" nor \"/\" nor double quotes.")));
}

/*
 * pyn_mlops_read_address takes an address apart.
 */
void
pyn_mlops_read_address(const char *text, PynModelAddress *address)
{
	bool		open;
	const char *separator = find_separator(text, &open);

	memset(address, 0, sizeof(*address));
	address->text = text;
	address->name = separator == NULL ? pstrdup(text) : pnstrdup(text, separator - text);
	pyn_mlops_check_model_name(address->name);
	if (separator == NULL)
	{
		address->alias = PYN_CHAMPION;
		address->bare = true;
	}
	else if (*separator == '@')
	{
		address->alias = pstrdup(separator + 1);
		pyn_mlops_check_alias(address->alias);
	}
	else
	{
		Size		digits = strspn(separator + 1, "0123456789");

		if (digits == 0 || digits > MOST_DIGITS || separator[1 + digits] != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("\"%s\" is no address of a model", text),
					 errhint("Write the name, or name@alias, or name/3 for version 3.")));
		address->version = strtoll(separator + 1, NULL, 10);
	}
}
