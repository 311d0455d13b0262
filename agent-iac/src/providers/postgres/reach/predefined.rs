//! What the server's own roles mean, from the table of predefined roles in
//! PostgreSQL's manual, section 22.5.

/// What one of them gives: an action, and what it is on.
type Given = (&'static str, &'static str);

const EVERY_TABLE: &str = "every table, view and sequence";
const EVERY_SCHEMA: &str = "every schema";

/// What a role of the server's own gives beside what is granted to it; `None`
/// when this program does not know the role.
pub(super) fn meaning(name: &str) -> Option<&'static [Given]> {
    Some(match name {
        "pg_read_all_data" => &[("select", EVERY_TABLE), ("usage", EVERY_SCHEMA)],
        "pg_write_all_data" => &[
            ("insert", EVERY_TABLE),
            ("update", EVERY_TABLE),
            ("delete", EVERY_TABLE),
            ("usage", EVERY_SCHEMA),
        ],
        "pg_read_all_settings" => &[("read", "every setting")],
        "pg_read_all_stats" => &[("read", "every statistic and query of every session")],
        "pg_stat_scan_tables" => &[("execute", "monitoring functions that lock tables")],
        // The one is a member of the three before; of the other, whoever owns
        // the database is, and what it has is read.
        "pg_monitor" | "pg_database_owner" => &[],
        "pg_signal_backend" => &[("cancel and end", "sessions of all but superusers")],
        "pg_signal_autovacuum_worker" => &[("cancel and end", "the server's vacuuming")],
        "pg_read_server_files" => &[("read", "every file of the server's user")],
        "pg_write_server_files" => &[("write", "every file of the server's user")],
        "pg_execute_server_program" => &[("run programs as", "the server's user")],
        "pg_checkpoint" => &[("execute", "CHECKPOINT")],
        "pg_maintain" => &[("maintain", "every table")],
        "pg_use_reserved_connections" => &[("use", "reserved connections")],
        "pg_create_subscription" => &[("create", "subscriptions")],
        _ => return None,
    })
}

/// Whether whoever has the role can make himself superuser by it.
pub(super) fn is_as_good_as_superuser(name: &str) -> bool {
    matches!(name, "pg_read_server_files" | "pg_write_server_files" | "pg_execute_server_program")
}

/// Whether the role may look into every schema.
pub(super) fn looks_everywhere(name: &str) -> bool {
    meaning(name).is_some_and(|given| given.contains(&("usage", EVERY_SCHEMA)))
}
