-- payments.sql
--	A shop's payments of 90 days, 100,000 rows, made up; 500 of them are planted anomalies.
--
-- Two thirds of the planted ones show in single columns:
--	stolen card		a large amount, at night, after a few seconds on the site
--	card testing	a tiny amount from a country never seen otherwise, at night, after a second
--	bulk order		80 to 240 items, and the amount that comes with them
-- One third holds only ordinary values that do not go together:
--	wrong fee		the fee of a payment 8 to 15 times larger or smaller
--	wrong currency	the currency of another country
-- Which rows they are is in payments_truth, which no detector sees.  The numbers come from hashes of the row's number, so
-- they are the same every time; needs nothing but PostgreSQL.
CREATE TABLE payments (
    id bigint PRIMARY KEY,
    paid_at timestamptz NOT NULL,
    country text NOT NULL,
    currency text NOT NULL,             -- follows from the country
    category text NOT NULL,
    method text NOT NULL,
    items int NOT NULL,
    amount numeric(12, 2) NOT NULL,     -- by category and items
    fee numeric(12, 2) NOT NULL,        -- 0.30 and a share of the amount that depends on the method
    is_new_customer boolean NOT NULL,
    session_seconds float8              -- time on the site; NULL where the visitor refused to be measured
);
COMMENT ON TABLE payments IS 'made-up payments with planted anomalies';

CREATE TABLE payments_truth (
    id bigint PRIMARY KEY REFERENCES payments,
    kind text NOT NULL
);
COMMENT ON TABLE payments_truth IS 'which payments are planted anomalies, and of what kind';

-- A uniform number in [0, 1) for a row and a purpose.
CREATE FUNCTION pg_temp.uniform(row_number bigint, purpose bigint) RETURNS float8
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (hashint8extended(row_number, purpose) >> 11 & 9007199254740991) / 9007199254740992.0::float8;

-- A standard normal one (Box and Muller).
CREATE FUNCTION pg_temp.normal(row_number bigint, purpose bigint) RETURNS float8
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN sqrt(-2 * ln(1 - pg_temp.uniform(row_number, purpose))) * cos(2 * pi() * pg_temp.uniform(row_number, purpose + 1));

-- The fee of an amount.
CREATE FUNCTION pg_temp.fee(amount numeric, method text) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN round(0.30 + amount * CASE method WHEN 'card' THEN 0.014 WHEN 'wallet' THEN 0.029 ELSE 0.008 END, 2);

CREATE TEMPORARY TABLE country (name text, currency text, up_to float8);
INSERT INTO country VALUES ('DE', 'EUR', 0.30), ('FR', 'EUR', 0.50), ('GB', 'GBP', 0.64), ('US', 'USD', 0.78),
    ('PL', 'PLN', 0.86), ('SE', 'SEK', 0.92), ('CH', 'CHF', 0.97), ('NO', 'NOK', 1.00);

CREATE TEMPORARY TABLE category (name text, up_to float8, price float8, spread float8, most_items int);
INSERT INTO category VALUES ('groceries', 0.34, 4, 0.5, 20), ('fashion', 0.58, 38, 0.6, 5), ('books', 0.76, 14, 0.4, 4),
    ('electronics', 0.92, 140, 0.7, 2), ('travel', 1.00, 210, 0.6, 3);

-- Which 500 rows are planted, spread evenly over the kinds.
CREATE TEMPORARY TABLE planted AS
    SELECT i AS id, (ARRAY['stolen card', 'bulk order', 'wrong fee', 'card testing', 'stolen card', 'wrong currency',
                           'bulk order', 'card testing', 'wrong fee', 'stolen card', 'bulk order', 'wrong currency'
                           ])[1 + row_number() OVER (ORDER BY hashint8extended(i, 90), i) % 12] AS kind
    FROM generate_series(1, 100000) AS i
    ORDER BY hashint8extended(i, 90), i
    LIMIT 500;

INSERT INTO payments
WITH drawn AS (
    SELECT i AS id, planted.kind, country.name AS country, country.currency, category.name AS category,
        CASE WHEN pg_temp.uniform(i, 1) < 0.62 THEN 'card' WHEN pg_temp.uniform(i, 1) < 0.88 THEN 'wallet'
             ELSE 'transfer' END AS method,
        -- Most at noon and in the evening, none between 0:00 and 6:00.
        date_trunc('day', timestamptz '2026-01-01 UTC' + i * interval '90 days' / 100000, 'UTC')
            + interval '1 hour' * least(23.99, greatest(6, CASE WHEN pg_temp.uniform(i, 2) < 0.55
                                                                THEN 13 + 2.2 * pg_temp.normal(i, 3)
                                                                ELSE 20 + 1.5 * pg_temp.normal(i, 5) END)) AS paid_at,
        CASE planted.kind WHEN 'bulk order' THEN 80 + (160 * pg_temp.uniform(i, 7))::int
             ELSE 1 + floor(category.most_items * pg_temp.uniform(i, 7) ^ 2)::int END AS items,
        category.price * exp(category.spread * pg_temp.normal(i, 8))
            * CASE planted.kind WHEN 'stolen card' THEN 40 ELSE 1 END AS price,
        CASE WHEN planted.kind IN ('stolen card', 'card testing') THEN 1 + 4 * pg_temp.uniform(i, 11)
             WHEN pg_temp.uniform(i, 10) < 0.04 THEN NULL
             ELSE exp(5.2 + 0.7 * pg_temp.normal(i, 12)) END AS session_seconds
    FROM generate_series(1, 100000) AS i
        JOIN country ON pg_temp.uniform(i, 14) < country.up_to
            AND pg_temp.uniform(i, 14) >= COALESCE((SELECT max(c.up_to) FROM country AS c WHERE c.up_to < country.up_to), 0)
        JOIN category ON pg_temp.uniform(i, 15) < category.up_to
            AND pg_temp.uniform(i, 15) >= COALESCE((SELECT max(c.up_to) FROM category AS c WHERE c.up_to < category.up_to), 0)
        LEFT JOIN planted ON planted.id = i
)
SELECT id,
    CASE WHEN kind IN ('stolen card', 'card testing')
         THEN date_trunc('day', paid_at, 'UTC') + interval '1 hour' * (2 + 2.5 * pg_temp.uniform(id, 16)) ELSE paid_at END,
    CASE kind WHEN 'card testing' THEN (ARRAY['KP', 'TV', 'IO'])[1 + floor(3 * pg_temp.uniform(id, 17))::int]
              ELSE country END,
    CASE kind WHEN 'card testing' THEN 'USD'
              WHEN 'wrong currency' THEN (SELECT c.currency FROM country AS c WHERE c.currency <> drawn.currency
                                          ORDER BY hashint8extended(id, hashtext(c.currency)) LIMIT 1)
              ELSE currency END,
    category, method, items, amount,
    pg_temp.fee(CASE WHEN kind = 'wrong fee'
                     THEN amount * ((8 + 7 * pg_temp.uniform(id, 18)) ^ CASE WHEN amount < 60 THEN 1 ELSE -1 END)::numeric
                     ELSE amount END, method),
    pg_temp.uniform(id, 19) < 0.15, round(session_seconds::numeric, 1)::float8
FROM drawn, LATERAL (SELECT round(CASE WHEN kind = 'card testing' THEN 0.5 + pg_temp.uniform(id, 20)
                                       ELSE items * price END::numeric, 2) AS amount) AS priced
ORDER BY id;

INSERT INTO payments_truth SELECT id, kind FROM planted ORDER BY id;
ANALYZE payments;
