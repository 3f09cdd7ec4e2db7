import type Database from 'libsql';
import { SEARCH_TABLE } from './search/search-index.ts';

/** "KCHT": marks the file as ours in its header (SQLite file format, section 1.3.17). */
export const APPLICATION_ID = 0x4b434854;

/** Needed after a change of the tokenizer: the index is filled anew behind the writes. */
const REBUILD_SEARCH = `DROP TABLE search; ${SEARCH_TABLE} UPDATE conversations SET indexed_seq = 0;`;

/** SQL for a salt with its name, as a part of a JSON object. */
const SALT = (name: string) => `',"${name}":"' || lower(hex(randomblob(16))) || '"'`;

/** Each entry migrates one version up; `user_version` in the header counts those applied. Never edit a released one. */
const MIGRATIONS = [
  `
  CREATE TABLE conversations (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    config_id TEXT NOT NULL,
    subject TEXT,
    party TEXT,
    status TEXT NOT NULL DEFAULT 'OPEN',
    labels TEXT NOT NULL DEFAULT '[]',
    assignee TEXT,
    created_at INTEGER NOT NULL,
    last_activity_at INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    last_rev INTEGER NOT NULL
  );
  CREATE TABLE members (
    conversation INTEGER NOT NULL REFERENCES conversations (pk),
    email TEXT NOT NULL,
    role TEXT,
    read_seq INTEGER NOT NULL DEFAULT 0,
    joined_at INTEGER NOT NULL,
    left_at INTEGER,
    muted INTEGER NOT NULL DEFAULT 0,
    pinned INTEGER NOT NULL DEFAULT 0,
    archived INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation, email)
  ) WITHOUT ROWID;
  CREATE INDEX members_by_email ON members (email, conversation);
  CREATE TABLE messages (
    conversation INTEGER NOT NULL REFERENCES conversations (pk),
    seq INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sender TEXT NOT NULL,
    text TEXT NOT NULL,
    client_id TEXT,
    reply_to_seq INTEGER,
    sent_at INTEGER NOT NULL,
    edited_at INTEGER,
    redacted_at INTEGER,
    revisions TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (conversation, seq)
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX messages_by_client_id ON messages (conversation, sender, client_id) WHERE client_id IS NOT NULL;
  CREATE INDEX messages_by_time ON messages (conversation, sent_at, seq);
  CREATE INDEX messages_unread ON messages (conversation, seq, sender) WHERE kind = 'TEXT' AND redacted_at IS NULL;
  `,
  // Times ascend within a log, so they are found by `seq`; the index cost a write with each message.
  'DROP INDEX messages_by_time;',
  `
  -- Null where it equals rev: messages never changed are in the order of rev by seq, and need no index on it.
  ALTER TABLE messages ADD COLUMN added_rev INTEGER;
  ALTER TABLE messages ADD COLUMN redaction_reason TEXT;
  ALTER TABLE messages ADD COLUMN first_text_hash TEXT;
  CREATE INDEX messages_changed ON messages (conversation, rev) WHERE added_rev IS NOT NULL;
  CREATE INDEX members_archived ON members (conversation) WHERE archived = 1 AND muted = 0;
  -- seq up to which the messages are in the search index: see indexer.ts.
  ALTER TABLE conversations ADD COLUMN indexed_seq INTEGER NOT NULL DEFAULT 0;
  -- Progress of the scrubber, while it has work: see scrubber.ts.
  CREATE TABLE scrub (pk INTEGER PRIMARY KEY CHECK (pk = 1), position INTEGER NOT NULL);
  ${SEARCH_TABLE}`,
  `
  -- Whether one more round follows the running one.
  ALTER TABLE scrub ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
  ${REBUILD_SEARCH}`,
  // Reads the first members of a conversation without the others.
  'CREATE INDEX members_by_joining ON members (conversation, joined_at, email);',
  // Scripts without spaces, optional marks, digits and invisible characters: see tokenizer.ts.
  REBUILD_SEARCH,
  // Unread counters, see model.ts. Counting existing rows reads each message three times, however many members have
  // read it: for its conversation, for its sender, and between two read positions.
  `
  ALTER TABLE conversations ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE members ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE members ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
  UPDATE conversations SET counted = (SELECT count(*) FROM messages
    WHERE conversation = pk AND kind = 'TEXT' AND redacted_at IS NULL);
  CREATE TEMP TABLE own (conversation INTEGER, email TEXT, sent INTEGER, seen INTEGER,
    PRIMARY KEY (conversation, email)) WITHOUT ROWID;
  INSERT INTO own SELECT r.conversation, r.email, count(*), sum(m.seq <= r.read_seq)
    FROM messages m INDEXED BY messages_unread
    CROSS JOIN members r ON r.conversation = m.conversation AND r.email = m.sender
    WHERE m.kind = 'TEXT' AND m.redacted_at IS NULL GROUP BY r.conversation, r.email;
  CREATE TEMP TABLE upto (conversation INTEGER, seq INTEGER, counted INTEGER,
    PRIMARY KEY (conversation, seq)) WITHOUT ROWID;
  INSERT INTO upto SELECT conversation, seq, sum((SELECT count(*) FROM messages m WHERE m.conversation = p.conversation
      AND m.seq > p.before AND m.seq <= p.seq AND m.kind = 'TEXT' AND m.redacted_at IS NULL))
      OVER (PARTITION BY conversation ORDER BY seq)
    FROM (SELECT conversation, seq, lag(seq, 1, 0) OVER (PARTITION BY conversation ORDER BY seq) AS before
      FROM (SELECT DISTINCT conversation, read_seq AS seq FROM members)) p;
  UPDATE members SET seen = (SELECT counted FROM upto u
    WHERE u.conversation = members.conversation AND u.seq = read_seq);
  UPDATE members SET sent = o.sent, seen = members.seen - o.seen FROM own o
    WHERE o.conversation = members.conversation AND o.email = members.email;
  DROP TABLE own; DROP TABLE upto;`,
  // JSON of `Origin`, see model.ts.
  'ALTER TABLE messages ADD COLUMN origin TEXT;',
  // The record: see record-store.ts and model.ts. What is stored so far gets salts, and entries of type IMPORTED.
  // Plain hashes of first texts are removed, as guesses could be tested with them.
  `
  ALTER TABLE messages ADD COLUMN record TEXT;
  UPDATE messages SET first_text_hash = NULL, record = '{"salts":{' || substr(
      CASE WHEN redacted_at IS NULL THEN ${SALT('text')} ELSE ${SALT('reason')} END
      || CASE WHEN seq = 1 THEN ${SALT('opening')} ELSE '' END
      || CASE WHEN reply_to_seq IS NOT NULL THEN ${SALT('reply')} ELSE '' END
      || CASE WHEN client_id IS NOT NULL THEN ${SALT('client')} ELSE '' END
      || CASE WHEN origin IS NOT NULL THEN ${SALT('source')} ELSE '' END, 2) || '}}',
    revisions = CASE revisions WHEN '[]' THEN '[]' ELSE (SELECT json_group_array(json_object(
        'text', value ->> 'text', 'editor', value ->> 'editor', 'at', value ->> 'at',
        'rev', CASE key WHEN 0 THEN coalesce(added_rev, rev) ELSE 0 END,
        'salt', CASE key WHEN 0 THEN lower(hex(randomblob(16))) END)) FROM json_each(revisions)) END;
  -- True while the log has moved since registered_rev; new conversations are marked.
  ALTER TABLE conversations ADD COLUMN unregistered INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE conversations ADD COLUMN registered_rev INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE conversations ADD COLUMN imported_rev INTEGER NOT NULL DEFAULT 0;
  UPDATE conversations SET imported_rev = last_rev;
  CREATE INDEX conversations_unregistered ON conversations (pk) WHERE unregistered = 1;
  ALTER TABLE members ADD COLUMN read_at INTEGER;
  -- True while the read position has moved since it was sealed last.
  ALTER TABLE members ADD COLUMN unsealed INTEGER NOT NULL DEFAULT 0;
  UPDATE members SET unsealed = 1 WHERE read_seq > 0;
  CREATE INDEX members_unsealed ON members (conversation) WHERE unsealed = 1;
  CREATE INDEX messages_system ON messages (conversation, seq) WHERE kind = 'SYSTEM';
  CREATE TABLE register (
    idx INTEGER PRIMARY KEY,
    conversation INTEGER REFERENCES conversations (pk),
    -- Null but for H leaves.
    rev INTEGER,
    leaf TEXT NOT NULL
  );
  CREATE INDEX register_by_conversation ON register (conversation, rev, idx);
  -- The register is the log 0; the ledgers have the pk of their conversations.
  CREATE TABLE tiles (
    pk INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    level INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    UNIQUE (log, level, idx)
  );
  CREATE TABLE record (
    pk INTEGER PRIMARY KEY CHECK (pk = 1),
    size INTEGER NOT NULL,
    checkpoint TEXT,
    checkpoint_size INTEGER NOT NULL,
    abandoned TEXT
  );
  INSERT INTO record VALUES (1, 0, NULL, 0, NULL);`,
];

/** The version of files that this program writes. */
export const VERSION = MIGRATIONS.length;

/** Migrates the file from one version to another, each step atomically. */
export function migrate(db: Database.Database, version: number, to = VERSION): void {
  for (const [index, sql] of MIGRATIONS.entries()) {
    if (index < version || index >= to) continue;
    db.exec(
      `BEGIN IMMEDIATE; ${sql} PRAGMA user_version = ${index + 1}; PRAGMA application_id = ${APPLICATION_ID}; COMMIT;`,
    );
  }
}
