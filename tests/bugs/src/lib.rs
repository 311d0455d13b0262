//! The simulation must be able to fail: each deliberate bug of the engine, and
//! what finds it. See `tests/bugs.rs`.
//!
//! It is a crate of its own, so that the build with `--cfg agent_iac_bugs`
//! compiles nothing but the simulation.

/// A bug, and what it breaks: an invariant, a decision or an incident.
pub type Bug = (&'static str, &'static str);

/// Every bug that stands in the engine.
pub const BUGS: &[Bug] = &[
    ("claim not recorded", "I1: no write without its `Begun`"),
    ("entry after call", "I1: the entry stands before the call"),
    ("unknown commit believed", "I1, L3: an append whose answer was lost is looked for"),
    ("stale absence believed", "I2, P6: what is recorded and not seen is read again"),
    ("adopted without a second look", "I2, P6: what is adopted is read again"),
    (
        "recorded object taken for undeclared",
        "I2, L7: what was recorded meanwhile is not undeclared",
    ),
    ("batch answers misordered", "I2, P4: each answer belongs to its request"),
    ("recovery repeats", "I2, C1: recovery asks what became of a claim"),
    ("recovery does not wait", "I2, P3: recovery waits until nothing can land"),
    ("lost secret left alive", "I2, R4: a secret that was lost is revoked"),
    ("repeated while it may land", "I3, P3: a request that may land is not sent again"),
    ("new token on retry", "I3: a retry has the claim of its step"),
    ("replaced objects left out of the state", "I4: the state is its replay"),
    ("missing re-read", "I5: nothing is written on unseen state"),
    ("not promoted", "I6, R1: a place gives a secret that works"),
    ("promoted credential revoked", "I6: what consumers read stays alive"),
    ("rotated with a gap", "I6: what consumers read works at every instant of a rotation"),
    ("overlap cut short", "I7: an old one stands for its overlap, R2 2025"),
    ("consumers not waited for", "I7: an old one waits for its consumers"),
    ("older one forgotten", "I12: an older one ends in its time, with nothing but a runner"),
    ("retried at once", "I12, vault#28989: what failed is waited for, longer each time"),
    ("hot renewal", "I12, cert-manager#3897: what does not go on is put off"),
    ("revoked before delivered", "I7, R4: the new one stands before the old one goes"),
    ("proof without trying", "I8, R9: what is proved dead was tried"),
    ("tried as another identity", "I8: and tried as whose it was"),
    ("kill leaves credentials", "I8, Okta 2023: a kill leaves nothing that works"),
    ("foreign object adopted", "I9: nothing is managed that is another's"),
    ("cap ignored", "I9: no more leavers than the cap"),
    ("scope ignored", "I9: no step outside the scope"),
    ("widened unattended", "I9: nothing unattended widens"),
    ("hold ignored", "I9: a held agent is left alone"),
    ("kill forgotten", "I9: no plan brings a killed agent back"),
    ("grace ignored", "I9: an identity outlives its agent by the grace"),
    ("protection ignored", "I9, Azure AD 2021: what is marked to stay stays"),
    ("secret in the ledger", "I10: no secret in a record"),
    ("fencing not checked", "I11, L1, DynamoDB 2025: a late writer changes nothing"),
    ("lease ignored", "I11, L7: at most one holder of an agent"),
    ("versions not compared", "I11, L2: an old plan overwrites nothing"),
    ("lease not checked before the call", "I11, L1: fencing reaches the call"),
    ("late renewal believed", "I11, L1: also when the renewal's answer was late"),
    ("lost wake-up", "I12: every wait has an end"),
    ("changes of permissions ignored", "I13: the world becomes as the code says"),
    ("chance of the machine's own", "I14: the seed decides everything"),
];
