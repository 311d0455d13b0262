//! Everything that the server says of roles and rights, one fact a line.
//!
//! Owns queries of its own, which share nothing with the provider's, and what a
//! new owner does to a list. It knows no fleet.

use std::collections::{BTreeMap, BTreeSet};

use super::World;

/// Where one privilege stands: the object, its column or nothing, who has it,
/// from whom, and which it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) on: String,
    pub(crate) column: String,
    pub(crate) to: String,
    pub(crate) by: String,
    pub(crate) privilege: String,
}

/// What is so on the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Each privilege, and whether it may be passed on.
    pub(crate) acl: BTreeMap<Spot, bool>,
    pub(crate) owners: BTreeMap<String, String>,
    /// Roles, settings, memberships, default privileges and policies.
    pub(crate) rest: BTreeSet<String>,
}

/// Everything of the graphs whose names begin with `@_g`, and of the database.
/// Logins are left out: they come and go by themselves.
const FACTS: &str = "
WITH names AS (SELECT oid, rolname::text AS name FROM pg_roles UNION ALL SELECT 0, 'PUBLIC'),
o AS (
    SELECT CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || relnamespace::regnamespace
            || '.' || relname AS what, c.oid, relowner AS owner, relacl AS acl,
        CASE relkind WHEN 'S' THEN 's' ELSE 'r' END AS letter
    FROM pg_class c WHERE relnamespace::regnamespace::text ~ '^@_g' AND relkind IN ('r', 'v', 'S')
    UNION ALL SELECT 'schema ' || nspname, oid, nspowner, nspacl, 'n'
    FROM pg_namespace WHERE nspname ~ '^@_g'
    UNION ALL SELECT CASE prokind WHEN 'p' THEN 'procedure ' ELSE 'function ' END
            || pronamespace::regnamespace || '.' || proname
            || '(' || oidvectortypes(proargtypes) || ')', oid, proowner, proacl, 'f'
    FROM pg_proc WHERE pronamespace::regnamespace::text ~ '^@_g'
    UNION ALL SELECT 'data-type ' || typnamespace::regnamespace || '.' || typname, oid, typowner,
        typacl, 'T' FROM pg_type WHERE typnamespace::regnamespace::text ~ '^@_g' AND typtype = 'e'
    UNION ALL SELECT 'foreign-server ' || srvname, oid, srvowner, srvacl, 'S' FROM pg_foreign_server
    UNION ALL SELECT 'large-object ' || oid, oid, lomowner, lomacl, 'L' FROM pg_largeobject_metadata
    UNION ALL SELECT 'database ' || datname, oid, datdba, datacl, 'd'
    FROM pg_database WHERE datname = current_database()
),
entries AS (
    SELECT what, '' AS col, e.* FROM o, aclexplode(coalesce(acl, acldefault(letter::\"char\", owner))) e
    UNION ALL SELECT what, attname, e.*
    FROM o JOIN pg_attribute ON attrelid = o.oid AND letter = 'r', aclexplode(attacl) e
    UNION ALL SELECT 'parameter ' || parname, '', e.*
    FROM pg_parameter_acl, aclexplode(paracl) e WHERE parname ~ '^@_g'
),
defaults AS (
    SELECT d.defaclrole, coalesce(nullif(defaclnamespace, 0)::regnamespace::text, '') AS within,
        defaclobjtype AS letter, defaclacl, defaclnamespace = 0 AS is_global,
        acldefault((CASE defaclobjtype WHEN 'S' THEN 's' ELSE defaclobjtype::text END)::\"char\",
            defaclrole) AS usual
    FROM pg_default_acl d WHERE defaclrole::regrole::text ~ '^@_g'
),
-- A global list begins with what there is without one.
future AS (
    SELECT f.*, '' AS word FROM (
        SELECT defaclrole, within, letter, e.* FROM defaults, aclexplode(defaclacl) e
        EXCEPT SELECT defaclrole, within, letter, e.* FROM defaults, aclexplode(usual) e
        WHERE is_global
    ) f
    UNION ALL SELECT f.*, 'no ' FROM (
        SELECT defaclrole, within, letter, e.* FROM defaults, aclexplode(usual) e WHERE is_global
        EXCEPT SELECT defaclrole, within, letter, e.* FROM defaults, aclexplode(defaclacl) e
    ) f
)
SELECT concat_ws('|', 'owner', what, pg_get_userbyid(owner)) FROM o
UNION ALL SELECT concat_ws('|', 'acl', what, col, t.name, b.name, privilege_type, is_grantable)
FROM entries JOIN names t ON t.oid = grantee JOIN names b ON b.oid = grantor
UNION ALL SELECT concat_ws('|', word || 'default', c.name, within, letter, t.name, privilege_type,
    is_grantable)
FROM future JOIN names c ON c.oid = defaclrole JOIN names t ON t.oid = grantee
UNION ALL SELECT concat_ws('|', 'role', rolname, CASE WHEN rolinherit THEN 'inherit' END,
    CASE WHEN rolcreatedb THEN 'createdb' END, CASE WHEN rolcreaterole THEN 'createrole' END,
    CASE WHEN rolbypassrls THEN 'bypassrls' END, CASE WHEN rolsuper THEN 'superuser' END,
    CASE WHEN rolreplication THEN 'replication' END, CASE WHEN rolcanlogin THEN 'login' END,
    rolconnlimit, rolvaliduntil)
FROM pg_roles WHERE rolname ~ '^@_g' AND rolname !~ '__g[0-9]+$'
UNION ALL SELECT concat_ws('|', 'set', rolname, datname, c)
FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole LEFT JOIN pg_database d ON d.oid = setdatabase,
    unnest(setconfig) c WHERE rolname ~ '^@_g' AND rolname !~ '__g[0-9]+$'
UNION ALL SELECT concat_ws('|', 'member', m.name, r.name, admin_option, BY_WHOM)
FROM pg_auth_members a JOIN names r ON r.oid = roleid JOIN names m ON m.oid = member
    JOIN names b ON b.oid = grantor
WHERE (r.name ~ '^@_g' OR m.name ~ '^@_g') AND r.name !~ '__g[0-9]+$' AND m.name !~ '__g[0-9]+$'
UNION ALL SELECT concat_ws('|', 'policy', polrelid::regclass, polname, polcmd,
    CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
    (SELECT string_agg(name, ',' ORDER BY name) FROM names WHERE oid = ANY (polroles)),
    pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy WHERE polrelid::regclass::text ~ '^@_g'";

impl Facts {
    pub(crate) async fn of(world: &World) -> Self {
        // Before 16 a membership has neither options nor a grantor that counts.
        let options = if world.version >= 16 { "inherit_option, set_option, b.name" } else { "''" };
        let sql = world.named(FACTS).replace("BY_WHOM", options);
        let mut facts = Self::default();
        for line in world.admin.rows(&sql).await {
            let parts: Vec<&str> = line.split('|').collect();
            match &parts[..] {
                ["owner", on, who] => {
                    facts.owners.insert((*on).to_owned(), (*who).to_owned());
                }
                ["acl", on, column, to, by, privilege, option] => {
                    let spot = Spot {
                        on: (*on).to_owned(),
                        column: (*column).to_owned(),
                        to: (*to).to_owned(),
                        by: (*by).to_owned(),
                        privilege: (*privilege).to_owned(),
                    };
                    facts.acl.insert(spot, *option == "t");
                }
                _ => {
                    facts.rest.insert(line);
                }
            }
        }
        facts
    }

    /// What a new owner does: he takes the place of the old one in the whole
    /// list, as whom something was given to and as who gave it.
    pub(crate) fn give(&mut self, on: &str, owner: &str) {
        let Some(before) = self.owners.insert(on.to_owned(), owner.to_owned()) else { return };
        let turned = |who: &String| if *who == before { owner.to_owned() } else { who.clone() };
        let (of, others): (BTreeMap<Spot, bool>, BTreeMap<Spot, bool>) =
            std::mem::take(&mut self.acl).into_iter().partition(|(spot, _)| spot.on == on);
        self.acl = others;
        for (spot, option) in of {
            let (to, by) = (turned(&spot.to), turned(&spot.by));
            *self.acl.entry(Spot { to, by, ..spot }).or_default() |= option;
        }
    }

    /// Each fact in one line.
    pub(crate) fn lines(&self) -> BTreeSet<String> {
        let acl = self.acl.iter().map(|(spot, option)| {
            let Spot { on, column, to, by, privilege } = spot;
            format!("{on} ({column}): {privilege} to {to} by {by}, option {option}")
        });
        let owners = self.owners.iter().map(|(on, who)| format!("{on}: owned by {who}"));
        acl.chain(owners).chain(self.rest.iter().cloned()).collect()
    }

    /// What one has more or less than the other.
    pub(crate) fn against(&self, expected: &Self) -> Vec<String> {
        let (is, was) = (self.lines(), expected.lines());
        let more = is.difference(&was).map(|line| format!("+ {line}"));
        more.chain(was.difference(&is).map(|line| format!("- {line}"))).collect()
    }
}
