-- Tables of the hand-off worker, for SQLite. `worker` makes them by itself.
-- Ids and names may hold any bytes; times are UTC.

-- One row for each order, or for each line of an order of several lines
-- (line 1, 2, ...; 0: it has one). `lsn` is of the record that set the state.
CREATE TABLE IF NOT EXISTS orders (
    ledger TEXT NOT NULL,
    id TEXT NOT NULL,
    line INTEGER NOT NULL,
    item TEXT NOT NULL,
    user_id TEXT NOT NULL,
    qty INTEGER NOT NULL,
    state TEXT NOT NULL,
    request_id TEXT NOT NULL,
    expires_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    lsn INTEGER NOT NULL,
    PRIMARY KEY (ledger, id, line)
);

-- Everything that happened to them, once: event_key is the key of the feed.
CREATE TABLE IF NOT EXISTS order_events (
    event_key TEXT NOT NULL PRIMARY KEY,
    ledger TEXT NOT NULL,
    lsn INTEGER NOT NULL,
    line INTEGER NOT NULL,
    time TEXT NOT NULL,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    item TEXT NOT NULL,
    user_id TEXT NOT NULL,
    qty INTEGER NOT NULL,
    state TEXT NOT NULL,
    request_id TEXT NOT NULL
);

-- How far each consumer is; moved in the transaction that writes its records.
CREATE TABLE IF NOT EXISTS order_position (
    name TEXT NOT NULL PRIMARY KEY,
    position TEXT NOT NULL
);
