-- Tables of the hand-off worker, for MariaDB. `worker` makes them by itself.
-- Ids and names may hold any bytes, so they are VARBINARY; times are UTC.

-- One row for each order, or for each line of an order of several lines
-- (line 1, 2, ...; 0: it has one). `lsn` is of the record that set the state.
CREATE TABLE IF NOT EXISTS orders (
    ledger VARBINARY(36) NOT NULL,
    id VARBINARY(64) NOT NULL,
    line TINYINT UNSIGNED NOT NULL,
    item VARBINARY(64) NOT NULL,
    user_id VARBINARY(64) NOT NULL,
    qty BIGINT NOT NULL,
    state VARCHAR(16) CHARACTER SET ascii NOT NULL,
    request_id VARBINARY(64) NOT NULL,
    expires_at DATETIME(6) NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    lsn BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (ledger, id, line)
) ENGINE = InnoDB;

-- Everything that happened to them, once: event_key is the key of the feed.
CREATE TABLE IF NOT EXISTS order_events (
    event_key VARBINARY(80) NOT NULL PRIMARY KEY,
    ledger VARBINARY(36) NOT NULL,
    lsn BIGINT UNSIGNED NOT NULL,
    line TINYINT UNSIGNED NOT NULL,
    time DATETIME(6) NOT NULL,
    type VARCHAR(16) CHARACTER SET ascii NOT NULL,
    id VARBINARY(64) NOT NULL,
    item VARBINARY(64) NOT NULL,
    user_id VARBINARY(64) NOT NULL,
    qty BIGINT NOT NULL,
    state VARCHAR(16) CHARACTER SET ascii NOT NULL,
    request_id VARBINARY(64) NOT NULL
) ENGINE = InnoDB;

-- How far each consumer is; moved in the transaction that writes its records.
CREATE TABLE IF NOT EXISTS order_position (
    name VARBINARY(32) NOT NULL PRIMARY KEY,
    position VARBINARY(32) NOT NULL
) ENGINE = InnoDB;
