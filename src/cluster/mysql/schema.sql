-- The tables of tidings, as docs/bindings.md describes them. `tidings_` is the prefix of the settings.
CREATE TABLE IF NOT EXISTS tidings_nodes (
  node VARBINARY(64) NOT NULL PRIMARY KEY,
  generation BIGINT UNSIGNED NOT NULL,
  version VARCHAR(32) NOT NULL,
  started BIGINT UNSIGNED NOT NULL,
  beat BIGINT UNSIGNED NOT NULL,
  beat_at DATETIME(3) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE IF NOT EXISTS tidings_connections (
  fd BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  node VARBINARY(64) NOT NULL,
  generation BIGINT UNSIGNED NOT NULL,
  uid VARBINARY(255) NOT NULL,
  since BIGINT UNSIGNED NOT NULL,
  session MEDIUMTEXT NULL,
  KEY uid (uid),
  KEY node (node, generation)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE IF NOT EXISTS tidings_rooms (
  room VARBINARY(255) NOT NULL,
  uid VARBINARY(255) NOT NULL,
  node VARBINARY(64) NOT NULL,
  generation BIGINT UNSIGNED NOT NULL,
  connections INT UNSIGNED NOT NULL,
  PRIMARY KEY (room, uid, node),
  KEY uid (uid),
  KEY node (node, generation)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE IF NOT EXISTS tidings_members (
  room VARBINARY(255) NOT NULL,
  uid VARBINARY(255) NOT NULL,
  PRIMARY KEY (room, uid),
  KEY uid (uid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
