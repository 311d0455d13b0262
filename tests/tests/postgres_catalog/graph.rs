//! Random graphs of roles, memberships, grants, grantors, default privileges and
//! ownership, the same from the same number.
//!
//! Owns chance, and the statements that make a graph. It knows no provider.

use std::fmt::Write as _;

/// How many roles there are in each.
pub(super) const ROLES: usize = 6;
const SCHEMAS: usize = 2;

/// Tries one thing as one role, and undoes it.
pub(super) const TRY: &str = r#"
CREATE FUNCTION public.attempt(who name, what text, help text[]) RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE done bool := false; helped bool := false; one text;
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL ROLE %I', who);
        EXECUTE what;
        done := true;
        RAISE EXCEPTION USING ERRCODE = 'P0999';
    EXCEPTION WHEN insufficient_privilege THEN NULL; WHEN SQLSTATE 'P0999' THEN NULL;
    END;
    IF done OR help IS NULL THEN RETURN done; END IF;
    BEGIN
        EXECUTE format('SET LOCAL ROLE %I', who);
        FOREACH one IN ARRAY help LOOP
            BEGIN
                EXECUTE format(one, who);
                helped := true;
            EXCEPTION WHEN insufficient_privilege THEN NULL;
            END;
        END LOOP;
        IF helped THEN
            EXECUTE what;
            done := true;
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'P0999';
    EXCEPTION WHEN insufficient_privilege THEN NULL; WHEN SQLSTATE 'P0999' THEN NULL;
    END;
    RETURN done;
END $$;
CREATE FUNCTION public.becomes(who name, whom name) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE done bool := false;
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', who);
        EXECUTE format('SET LOCAL ROLE %I', whom);
        done := true;
        RAISE EXCEPTION USING ERRCODE = 'P0999';
    EXCEPTION WHEN insufficient_privilege THEN NULL; WHEN SQLSTATE 'P0999' THEN NULL;
    END;
    RETURN done;
END $$;
-- Carries out what may be refused: the graph is what comes of it.
CREATE FUNCTION public.perhaps(who name, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    EXECUTE what;
    SET LOCAL ROLE NONE;
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
-- Whom a creator's default privileges let read what he makes.
CREATE FUNCTION public.future(creator name, schema name, roles name[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE found text := '';
BEGIN
    BEGIN
        EXECUTE format('GRANT ALL ON SCHEMA %I TO %I', schema, creator);
        EXECUTE format('SET LOCAL ROLE %I', creator);
        EXECUTE format('CREATE TABLE %I.future (a int)', schema);
        SET LOCAL ROLE NONE;
        SELECT string_agg(public.attempt(who, format('SELECT a FROM %I.future', schema), ARRAY[
                format('GRANT ALL ON SCHEMA %I TO %%I', schema),
                format('GRANT ALL ON %I.future TO %%I', schema)
            ])::int::text, '' ORDER BY place)
        INTO found FROM unnest(roles) WITH ORDINALITY AS r (who, place);
        RAISE EXCEPTION USING ERRCODE = 'P0999';
    EXCEPTION WHEN SQLSTATE 'P0999' THEN NULL;
    END;
    RETURN found;
END $$;
CREATE SCHEMA scratch; GRANT ALL ON SCHEMA scratch TO PUBLIC;
"#;

/// A small generator of numbers, the same on every machine (splitmix64).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// One random graph, and the names in it.
pub(super) struct Graph {
    pub(super) roles: Vec<String>,
    pub(super) schemas: Vec<String>,
    /// What makes it.
    pub(super) script: String,
}

impl Graph {
    pub(super) fn new(prefix: &str, chance: &mut Chance, version: u32) -> Self {
        let roles: Vec<String> = (0..ROLES).map(|n| format!("{prefix}_r{n}")).collect();
        let schemas: Vec<String> = (0..SCHEMAS).map(|n| format!("{prefix}_s{n}")).collect();
        let mut script = String::new();
        for role in &roles {
            let inherit = if chance.one_in(4) { "NOINHERIT" } else { "INHERIT" };
            writeln!(script, "CREATE ROLE {role} {inherit};").unwrap();
        }
        let mut graph = Self { roles, schemas, script };
        for _ in 0..chance.below(6) + 1 {
            graph.membership(chance, version);
        }
        if chance.one_in(3) {
            let server = chance.of(&["pg_read_all_data", "pg_write_all_data"]);
            let role = graph.role(chance);
            writeln!(graph.script, "GRANT {server} TO {role};").unwrap();
        }
        for schema in graph.schemas.clone() {
            graph.objects(&schema, chance);
        }
        for _ in 0..20 + chance.below(20) {
            graph.change(chance, version);
        }
        graph
    }

    pub(super) fn role(&self, chance: &mut Chance) -> String {
        self.roles[chance.below(ROLES)].clone()
    }

    pub(super) fn schema(&self, chance: &mut Chance) -> String {
        self.schemas[chance.below(SCHEMAS)].clone()
    }

    /// A grantee; everybody at times.
    fn grantee(&self, chance: &mut Chance) -> String {
        if chance.one_in(10) { "PUBLIC".into() } else { self.role(chance) }
    }

    /// Adds a statement that somebody tries.
    pub(super) fn perhaps(&mut self, who: &str, what: &str) {
        let what = what.replace('\'', "''");
        writeln!(self.script, "SELECT public.perhaps('{who}', '{what}');").unwrap();
    }

    fn membership(&mut self, chance: &mut Chance, version: u32) {
        let (of, to) = (self.role(chance), self.role(chance));
        let mut options = Vec::new();
        if chance.one_in(3) {
            options.push("ADMIN OPTION".to_owned());
        }
        if version >= 16 {
            options.clear();
            for option in ["ADMIN", "INHERIT", "SET"] {
                if chance.one_in(2) {
                    let value = chance.of(&["TRUE", "FALSE"]);
                    options.push(format!("{option} {value}"));
                }
            }
        }
        let with = if options.is_empty() {
            String::new()
        } else {
            format!(" WITH {}", options.join(", "))
        };
        // By the superuser, or by somebody with the admin option.
        let by = if chance.one_in(3) { self.role(chance) } else { "postgres".into() };
        self.perhaps(&by, &format!("GRANT {of} TO {to}{with}"));
    }

    fn objects(&mut self, schema: &str, chance: &mut Chance) {
        let script = &mut self.script;
        writeln!(
            script,
            "CREATE SCHEMA {schema};
             CREATE TABLE {schema}.t0 (a int PRIMARY KEY, b int);
             CREATE TABLE {schema}.t1 (a int PRIMARY KEY, b int);
             CREATE VIEW {schema}.v AS SELECT 1 AS a; CREATE SEQUENCE {schema}.q;
             CREATE TYPE {schema}.e AS ENUM ('x');
             CREATE FUNCTION {schema}.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION {schema}.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        )
        .unwrap();
        for kind in ["TABLE {}.t0", "TABLE {}.t1", "SEQUENCE {}.q", "FUNCTION {}.f()", "SCHEMA {}"]
        {
            if chance.one_in(2) {
                let (owner, object) = (self.role(chance), kind.replace("{}", schema));
                writeln!(self.script, "ALTER {object} OWNER TO {owner};").unwrap();
            }
        }
        for _ in 0..3 {
            let to = self.role(chance);
            writeln!(self.script, "GRANT USAGE ON SCHEMA {schema} TO {to};").unwrap();
        }
    }

    fn change(&mut self, chance: &mut Chance, version: u32) {
        let schema = self.schema(chance);
        let tables = [
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "TRUNCATE",
            "REFERENCES",
            "TRIGGER",
            "ALL",
            "SELECT, INSERT",
            "MAINTAIN",
        ];
        let columns = ["SELECT (a)", "SELECT (b)", "INSERT (a)", "UPDATE (a, b)", "REFERENCES (a)"];
        let maintains = if version >= 17 { tables.len() } else { tables.len() - 1 };
        let (privileges, object) = match chance.below(12) {
            0..4 => (
                tables[chance.below(maintains)],
                format!("{schema}.{}", chance.of(&["t0", "t1", "v"])),
            ),
            4..6 => (chance.of(&columns), format!("{schema}.{}", chance.of(&["t0", "t1"]))),
            6 => (chance.of(&["USAGE", "SELECT", "UPDATE"]), format!("SEQUENCE {schema}.q")),
            7 => ("EXECUTE", format!("FUNCTION {schema}.{}", chance.of(&["f()", "f(int)"]))),
            8 => (chance.of(&["USAGE", "CREATE", "ALL"]), format!("SCHEMA {schema}")),
            9 => ("USAGE", format!("TYPE {schema}.e")),
            10 => {
                let (creator, to) = (self.role(chance), self.grantee(chance));
                let within =
                    if chance.one_in(2) { format!("IN SCHEMA {schema}") } else { String::new() };
                let what = chance.of(&["SELECT", "ALL", "INSERT"]);
                self.perhaps(
                    "postgres",
                    &format!(
                        "ALTER DEFAULT PRIVILEGES FOR ROLE {creator} {within} GRANT {what} ON TABLES TO {to}"
                    ),
                );
                return;
            }
            _ => {
                let who = self.role(chance);
                self.perhaps(
                    &who,
                    &format!("CREATE TABLE {schema}.made_{} (a int, b int)", chance.below(2)),
                );
                return;
            }
        };
        let who = if chance.one_in(2) { self.role(chance) } else { "postgres".into() };
        let to = self.grantee(chance);
        let option = if to != "PUBLIC" && chance.one_in(3) { " WITH GRANT OPTION" } else { "" };
        let statement = if chance.one_in(4) {
            format!("REVOKE {privileges} ON {object} FROM {to} CASCADE")
        } else {
            format!("GRANT {privileges} ON {object} TO {to}{option}")
        };
        self.perhaps(&who, &statement);
    }
}
