/*
 * timing.c
 *		When a schedule is next due: cron expressions and intervals, in a time zone of their own.
 *
 * A cron expression is searched on the wall clock, where it is simple: days that match, and the minutes of a day.  The
 * zone cuts time into stretches of one UTC offset; in a stretch wall clock and UTC differ by a constant, and only
 * between two stretches does the clock jump.  So the search goes stretch by stretch and steps over whole months and
 * days that do not match, never minute by minute.
 *
 * What a jump means is one variable, `reached`: how far the wall clock has ever been.  A schedule of certain hours is
 * due when the clock first reaches or passes a matching time.  A jump forward thus makes the times it passes due at
 * once, and after a jump backward nothing is due until the clock is where it had been.  A schedule of every hour is no
 * daily event that could be lost or doubled and follows the clock as it is.  This is the distinction of Vixie's cron
 * between wildcard and fixed-time jobs, but made by the hours that a field means and not by how it is written.
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "common/int.h"
#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "kernel/timing.h"

#define WHITESPACE " \t\n\r\f\v"

/* From Unix's to PostgreSQL's epoch, in seconds. */
#define EPOCH_SECONDS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* Where any date matches, one does within 40 years: so rarely can 29 February fall on a certain day of the week. */
#define HORIZON ((int64) 41 * 366 * SECS_PER_DAY)

/* No clock was ever set back by more than a day, when the date line moved; a search starts earlier by this. */
#define LONGEST_SETBACK ((int64) 2 * SECS_PER_DAY)

/* The Gregorian calendar's mean; DAYS_PER_YEAR is the Julian one's. */
#define MEAN_DAYS_PER_MONTH (146097.0 / 4800)

enum
{
	FIELD_MINUTE,
	FIELD_HOUR,
	FIELD_DAY_OF_MONTH,
	FIELD_MONTH,
	FIELD_DAY_OF_WEEK,
	FIELD_COUNT
};

typedef struct CronField
{
	const char *name;
	int			minimum;
	int			maximum;
	int			longest_step;	/* a longer one, such as every 90 minutes, would not do what it says */
	const char *value_names;	/* three letters each, beginning with that of the minimum */
	const char *values;			/* for the hint */
} CronField;

static const CronField cron_fields[FIELD_COUNT] = {
	{"minute", 0, 59, 60, "", "0 to 59"},
	{"hour", 0, 23, 24, "", "0 to 23"},
	{"day of month", 1, 31, 31, "", "1 to 31"},
	{"month", 1, 12, 12, "janfebmaraprmayjunjulaugsepoctnovdec", "1 to 12 or jan to dec"},
	{"day of week", 0, 7, 7, "sunmontuewedthufrisat", "0 to 7 (0 and 7 are Sunday) or sun to sat"},
};

static const struct
{
	const char *name;
	const char *fields[FIELD_COUNT];
}			nicknames[] = {
	{"@hourly", {"0", "*", "*", "*", "*"}},
	{"@daily", {"0", "0", "*", "*", "*"}},
	{"@midnight", {"0", "0", "*", "*", "*"}},
	{"@weekly", {"0", "0", "*", "*", "0"}},
	{"@monthly", {"0", "0", "1", "*", "*"}},
	{"@yearly", {"0", "0", "1", "1", "*"}},
	{"@annually", {"0", "0", "1", "1", "*"}},
};

struct PynTiming
{
	pg_tz	   *zone;			/* belongs to the server's cache of zones, which keeps it for the backend's life */
	bool		is_interval;

	Interval	interval;

	uint64		sets[FIELD_COUNT];	/* bit n: the field allows n */
	bool		either_day;		/* one of the day fields is enough */
	bool		every_hour;

	char		text[FLEXIBLE_ARRAY_MEMBER];	/* as given, for messages */
};

static bool
allows(const PynTiming *timing, int field, int value)
{
	return (timing->sets[field] & (UINT64CONST(1) << value)) != 0;
}

/* Divides downwards, for times before the epoch. */
static int64
floor_div(int64 number, int64 divisor)
{
	return number / divisor - (number % divisor < 0 ? 1 : 0);
}

/* ---------- parsing ---------- */

/* Reads the digits at *cursor; -1 if there are none.  Any number that no field can have is as good as 1000. */
static int
read_digits(const char **cursor)
{
	int			number = -1;

	for (; isdigit((unsigned char) **cursor); (*cursor)++)
		number = Min(Max(number, 0) * 10 + (**cursor - '0'), 1000);
	return number;
}

/* Reads a number or name of the field at *cursor; -1 if there is none. */
static int
read_value(const CronField *field, const char **cursor)
{
	for (int i = 0; field->value_names[3 * i] != '\0'; i++)
		if (pg_strncasecmp(*cursor, field->value_names + 3 * i, 3) == 0)
		{
			*cursor += 3;
			return field->minimum + i;
		}
	return read_digits(cursor);
}

/* Adds what one item of a list allows to the set; false if it is not well-formed. */
static bool
read_item(const CronField *field, const char *item, uint64 *set)
{
	const char *cursor = item;
	int			first = field->minimum;
	int			last = field->maximum;
	int			step = 1;

	if (*cursor == '*')
		cursor++;
	else
	{
		first = last = read_value(field, &cursor);
		if (*cursor == '-')
		{
			cursor++;
			last = read_value(field, &cursor);
			/* As in sat-sun. */
			if (last == 0 && first > 0 && field == &cron_fields[FIELD_DAY_OF_WEEK])
				last = 7;
		}
		else if (*cursor != '\0')
			return false;
	}
	if (*cursor == '/')
	{
		cursor++;
		step = read_digits(&cursor);
	}
	if (*cursor != '\0' || first < field->minimum || last > field->maximum || first > last ||
		step < 1 || step > field->longest_step)
		return false;
	for (int value = first; value <= last; value += step)
		*set |= UINT64CONST(1) << value;
	return true;
}

static uint64
read_field(const CronField *field, const char *text, const char *timing_text)
{
	uint64		set = 0;
	char	   *item = pstrdup(text);

	for (char *next; item != NULL; item = next)
	{
		next = strchr(item, ',');
		if (next != NULL)
			*next++ = '\0';
		if (!read_item(field, item, &set))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid %s \"%s\" in schedule \"%s\"", field->name, item, timing_text),
					 errhint("The field takes *, values of %s, ranges a-b, steps */n and a-b/n with n from 1 to %d,"
							 " and lists of these with commas.", field->values, field->longest_step)));
	}
	return set;
}

/*
 * first_match finds the first whole minute of the wall clock from `from` on and before `limit` that is allowed.
 * Wall clock times are in seconds since 1970-01-01 00:00 on that clock.  A limit many years away costs some thousand
 * steps at most, since months that do not match are one step each, and so are days.
 */
static bool
first_match(const PynTiming *timing, int64 from, int64 limit, int64 *found)
{
	/* j2date knows no earlier day. */
	int64		day = Max(floor_div(from, SECS_PER_DAY), -UNIX_EPOCH_JDATE);
	int			minute = Max(-floor_div(day * SECS_PER_DAY - from, SECS_PER_MINUTE), 0);

	for (; day * SECS_PER_DAY < limit; minute = 0)
	{
		int			julian = day + UNIX_EPOCH_JDATE;
		int			year,
					month,
					day_of_month;
		bool		by_month,
					by_week;

		j2date(julian, &year, &month, &day_of_month);
		if (!allows(timing, FIELD_MONTH, month))
		{
			day = date2j(month == 12 ? year + 1 : year, month % 12 + 1, 1) - UNIX_EPOCH_JDATE;
			continue;
		}
		by_month = allows(timing, FIELD_DAY_OF_MONTH, day_of_month);
		by_week = allows(timing, FIELD_DAY_OF_WEEK, j2day(julian));
		if (timing->either_day ? by_month || by_week : by_month && by_week)
			for (; minute < MINS_PER_HOUR * HOURS_PER_DAY; minute++)
				if (allows(timing, FIELD_HOUR, minute / MINS_PER_HOUR) &&
					allows(timing, FIELD_MINUTE, minute % MINS_PER_HOUR))
				{
					*found = day * SECS_PER_DAY + minute * SECS_PER_MINUTE;
					return *found < limit;
				}
		day++;
	}
	return false;
}

static void
set_cron(PynTiming *timing, const char *const *fields)
{
	const uint64 all_hours = (UINT64CONST(1) << HOURS_PER_DAY) - 1;
	int64		found;

	for (int i = 0; i < FIELD_COUNT; i++)
		timing->sets[i] = read_field(&cron_fields[i], fields[i], timing->text);
	if (allows(timing, FIELD_DAY_OF_WEEK, 7))
		timing->sets[FIELD_DAY_OF_WEEK] |= 1;
	timing->either_day = fields[FIELD_DAY_OF_MONTH][0] != '*' && fields[FIELD_DAY_OF_WEEK][0] != '*';
	timing->every_hour = timing->sets[FIELD_HOUR] == all_hours;
	if (!first_match(timing, 0, HORIZON, &found))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule \"%s\" is never due", timing->text),
				 errhint("No date has such a day of month, month and day of week.")));
}

/*
 * may_be_interval tells texts that can be intervals from those that PostgreSQL only takes for some: its reader skips
 * most punctuation, so that "30 * * * *", or a cron expression that lacks a field, would be 30 seconds.  Five words
 * that begin as cron expressions do, with two fields that know no names, are one even if "mon" or "dec" could be a unit.
 */
static bool
may_be_interval(const char *text, const char *const *words, int count)
{
	const char *cron = "0123456789*,-/";

	for (const char *p = text; *p != '\0'; p++)
		if (!isalnum((unsigned char) *p) && strchr(WHITESPACE ".:,+-@", *p) == NULL)
			return false;
	return count != FIELD_COUNT || words[0][strspn(words[0], cron)] != '\0' || words[1][strspn(words[1], cron)] != '\0';
}

/*
 * decode_interval does what interval_in does, but returns what is wrong: most texts that come here are no intervals,
 * and an error can be caught only at the price of a subtransaction.
 */
static int
decode_interval(const char *text, Interval *interval)
{
	char		buffer[256];	/* the size that interval_in has, so that both accept the same */
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			count;
	int			unit;
	struct pg_itm_in parts;
	int			error;

	error = ParseDateTime(text, buffer, sizeof(buffer), fields, types, MAXDATEFIELDS, &count);
	if (error == 0)
		error = DecodeInterval(fields, types, count, INTERVAL_FULL_RANGE, &unit, &parts);
	if (error == DTERR_BAD_FORMAT)
		error = DecodeISO8601Interval(pstrdup(text), &unit, &parts);
	if (error == 0 && itmin2interval(&parts, interval) != 0)
		error = DTERR_INTERVAL_OVERFLOW;
	return error;
}

static void
check_interval(const PynTiming *timing)
{
	const Interval *interval = &timing->interval;

	if (interval->month < 0 || interval->day < 0 || interval->time < 0 ||
		(interval->month == 0 && interval->day == 0 && interval->time < USECS_PER_SEC))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("interval \"%s\" of a schedule is shorter than a second or has a negative part",
						timing->text),
				 errhint("Give a positive interval such as '5 minutes'.")));
}

/* Cuts text into words, at most FIELD_COUNT + 1, and returns their number. */
static int
split_words(const char *text, const char **words)
{
	char	   *rest = pstrdup(text);
	char	   *state;
	int			count = 0;

	for (char *word = strtok_r(rest, WHITESPACE, &state); word != NULL && count <= FIELD_COUNT;
		 word = strtok_r(NULL, WHITESPACE, &state))
		words[count++] = word;
	return count;
}

static pg_tz *
find_zone(const char *name)
{
	pg_tz	   *zone = pg_tzset(name);

	/* A zone of astronomical seconds would put every moment in the wrong second, so the server refuses it, too. */
	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" of a schedule is not known", name),
				 errhint("Give a name that pg_timezone_names lists, such as \"Europe/Berlin\".")));
	return zone;
}

/*
 * pyn_timing_parse reads a cron expression, one of its nicknames or an interval.
 */
PynTiming *
pyn_timing_parse(const char *text, const char *time_zone)
{
	PynTiming  *timing = palloc0(offsetof(PynTiming, text) + strlen(text) + 1);
	const char *words[FIELD_COUNT + 1];
	int			count = split_words(text, words);
	int			error = DTERR_BAD_FORMAT;

	strcpy(timing->text, text);
	timing->zone = find_zone(time_zone);
	if (may_be_interval(text, words, count))
		error = decode_interval(text, &timing->interval);
	if (error == 0)
	{
		timing->is_interval = true;
		check_interval(timing);
		return timing;
	}
	if (count == FIELD_COUNT)
	{
		set_cron(timing, words);
		return timing;
	}
	for (int i = 0; count == 1 && i < lengthof(nicknames); i++)
		if (pg_strcasecmp(words[0], nicknames[i].name) == 0)
		{
			set_cron(timing, nicknames[i].fields);
			return timing;
		}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 error == DTERR_FIELD_OVERFLOW || error == DTERR_INTERVAL_OVERFLOW ?
			 errmsg("interval \"%s\" of a schedule is out of range", text) :
			 errmsg("schedule \"%s\" is neither a cron expression of five fields nor an interval", text),
			 errhint("Give a cron expression such as '*/5 * * * *' or @daily, or an interval such as '5 minutes'.")));
}

/* ---------- the next due time ---------- */

/*
 * next_of_cron returns the Unix time at which the expression is due first, from `earliest` on; false if there is none.
 */
static bool
next_of_cron(const PynTiming *timing, pg_time_t earliest, pg_time_t *next)
{
	pg_time_t	horizon = earliest + HORIZON;
	pg_time_t	start = earliest - LONGEST_SETBACK;
	int64		reached = PG_INT64_MIN;

	while (start < horizon)
	{
		pg_time_t	end;
		long int	offset,
					next_offset;
		int			is_dst,
					next_is_dst;
		int			known = pg_next_dst_boundary(&start, &offset, &is_dst, &end, &next_offset, &next_is_dst,
												 timing->zone);
		int64		from;
		int64		found;

		if (known < 0)
			return false;
		if (known == 0 || end > horizon)
			end = horizon;

		/* The stretch is [start, end); the wall clock shows `from` at its start. */
		from = start + offset;
		if (timing->every_hour || reached == PG_INT64_MIN)
			reached = from;
		if (start >= earliest && reached < from && first_match(timing, reached, from, &found))
		{
			*next = start;
			return true;
		}
		if (first_match(timing, Max(Max(from, reached), earliest + offset), end + offset, &found))
		{
			*next = found - offset;
			return true;
		}
		reached = Max(reached, end + offset);
		start = end;
	}
	return false;
}

/*
 * interval_multiple returns anchor + n * interval, DT_NOEND if that is beyond the last timestamp.  It is what
 * timestamptz_pl_interval computes in a session with this time zone, except that months and days are one step: as two
 * steps, a change of clocks on the day in between would move the result by an hour.
 */
static TimestampTz
interval_multiple(const PynTiming *timing, TimestampTz anchor, int64 n)
{
	const Interval *interval = &timing->interval;
	TimestampTz result = anchor;
	int64		time;

	if (n > 0 && (interval->month > 0 || interval->day > 0))
	{
		struct pg_tm tm;
		fsec_t		fsec;
		int			offset;
		int64		months;
		int64		julian;

		if (timestamp2tm(anchor, &offset, &tm, &fsec, NULL, timing->zone) != 0)
			return DT_NOEND;
		months = (int64) tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon - 1 + n * interval->month;
		if (months >= (int64) JULIAN_MAXYEAR * MONTHS_PER_YEAR)
			return DT_NOEND;
		tm.tm_year = floor_div(months, MONTHS_PER_YEAR);
		tm.tm_mon = months - (int64) tm.tm_year * MONTHS_PER_YEAR + 1;
		tm.tm_mday = Min(tm.tm_mday, day_tab[isleap(tm.tm_year)][tm.tm_mon - 1]);
		julian = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) + n * interval->day;
		if (julian > TIMESTAMP_END_JULIAN)
			return DT_NOEND;
		j2date(julian, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		offset = DetermineTimeZoneOffset(&tm, timing->zone);
		if (tm2timestamp(&tm, fsec, &offset, &result) != 0)
			return DT_NOEND;
	}

	/* In two halves, since the time from the first to the last timestamp is more than 64 bits hold. */
	if (pg_mul_s64_overflow(interval->time, n / 2, &time) || pg_add_s64_overflow(result, time, &result) ||
		pg_mul_s64_overflow(interval->time, n - n / 2, &time) || pg_add_s64_overflow(result, time, &result) ||
		!IS_VALID_TIMESTAMP(result))
		return DT_NOEND;
	return result;
}

/*
 * next_of_interval returns the first multiple after `after`.  With months and days of mean length n is found but for
 * the few days that calendar and zone deviate, hence a few steps; multiples never decrease with n.
 */
static TimestampTz
next_of_interval(const PynTiming *timing, TimestampTz anchor, TimestampTz after)
{
	const Interval *interval = &timing->interval;
	double		length = interval->time + USECS_PER_DAY * (interval->day + interval->month * MEAN_DAYS_PER_MONTH);
	int64		n = Max(0, floor(((double) after - (double) anchor) / length));

	while (interval_multiple(timing, anchor, n) <= after)
		n++;
	while (n > 0 && interval_multiple(timing, anchor, n - 1) > after)
		n--;
	return interval_multiple(timing, anchor, n);
}

/*
 * pyn_timing_next returns the first moment after `after` at which the timing is due.
 */
TimestampTz
pyn_timing_next(const PynTiming *timing, TimestampTz anchor, TimestampTz after)
{
	TimestampTz next = DT_NOEND;

	if (TIMESTAMP_NOT_FINITE(after) || (timing->is_interval && TIMESTAMP_NOT_FINITE(anchor)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule \"%s\" cannot continue from an infinite time", timing->text)));
	if (timing->is_interval)
		next = next_of_interval(timing, anchor, after);
	else
	{
		/* The first whole second after `after`. */
		pg_time_t	earliest = floor_div(after, USECS_PER_SEC) + 1 + EPOCH_SECONDS;
		pg_time_t	found;

		if (next_of_cron(timing, earliest, &found) && found - EPOCH_SECONDS < END_TIMESTAMP / USECS_PER_SEC)
			next = (found - EPOCH_SECONDS) * USECS_PER_SEC;
	}
	if (TIMESTAMP_NOT_FINITE(next))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule \"%s\" is not due after %s", timing->text, timestamptz_to_str(after)),
				 errhint("Its next time would be out of the range of timestamps.")));
	return next;
}
