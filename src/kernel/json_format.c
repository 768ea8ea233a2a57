/*
 * json_format.c
 *		The formats that a schema can ask of a string.
 *
 * They take no help from PostgreSQL's own input functions, which accept much more than the standards do.
 */
#include "postgres.h"

#include "kernel/json_schema_tree.h"

/* True if each character is as in the mask: 9 a digit, x a hexadecimal digit, letters in either case, else itself. */
static bool
fits(const char *text, int length, const char *mask)
{
	if (length != strlen(mask))
		return false;
	for (int i = 0; i < length; i++)
	{
		char		character = text[i];
		char		lower = character >= 'A' && character <= 'Z' ? character - 'A' + 'a' : character;
		bool		digit = character >= '0' && character <= '9';

		if (mask[i] == '9' ? !digit : mask[i] == 'x' ? !digit && !(lower >= 'a' && lower <= 'f') : mask[i] != lower)
			return false;
	}
	return true;
}

static bool
is_uuid(const char *text, int length)
{
	return fits(text, length, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

static inline int
two_digits(const char *text)
{
	return (text[0] - '0') * 10 + (text[1] - '0');
}

/* RFC 3339, section 5.6: date-time, in the proleptic Gregorian calendar. */
static bool
is_date_time(const char *text, int length)
{
	static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	const char *end = text + length;
	const char *zone = text + 19;	/* after the seconds */
	int			year,
				month,
				day,
				minutes,		/* since midnight */
				second,
				offset = 0;		/* local time minus UTC, in minutes */
	bool		leap_year;

	if (length <= 19 || !fits(text, 19, "9999-99-99t99:99:99"))
		return false;
	if (*zone == '.')
	{
		const char *fraction = ++zone;

		while (zone < end && *zone >= '0' && *zone <= '9')
			zone++;
		if (zone == fraction)
			return false;
	}
	if (!fits(zone, end - zone, "z"))
	{
		if (!fits(zone, end - zone, "+99:99") && !fits(zone, end - zone, "-99:99"))
			return false;
		if (two_digits(zone + 1) > 23 || two_digits(zone + 4) > 59)
			return false;
		offset = (two_digits(zone + 1) * 60 + two_digits(zone + 4)) * (*zone == '-' ? -1 : 1);
	}
	year = two_digits(text) * 100 + two_digits(text + 2);
	month = two_digits(text + 5);
	day = two_digits(text + 8);
	leap_year = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	if (month < 1 || month > 12 || day < 1 || day > month_days[month - 1] + (month == 2 && leap_year ? 1 : 0))
		return false;
	minutes = two_digits(text + 11) * 60 + two_digits(text + 14);
	second = two_digits(text + 17);
	if (two_digits(text + 11) > 23 || two_digits(text + 14) > 59 || second > 60)
		return false;

	/* Leap seconds end a day of UTC. On which days cannot be known: they are announced half a year before. */
	return second < 60 || (minutes - offset + 1440) % 1440 == 1439;
}

const JsonFormat pyn_json_formats[PYN_JSON_FORMATS] = {
	{"uuid", is_uuid, "a UUID in the form 8-4-4-4-12"},
	{"date-time", is_date_time, "a date and time as in RFC 3339"},
};
