//! Alerts by way of this machine, within what its host allows.

use std::fmt;

use async_trait::async_trait;

use super::alert::{Alarm, Alert, AlertStatus};
use crate::consumer::{LocalTeller, Told, Webhook};

/// Tells alerts to a webhook, or to a command of this machine.
///
/// A webhook gets the alert as JSON, signed as those of consumers are. A
/// command is one that the host allows, with its arguments; it runs without a
/// shell, in an environment of its own, which has the alert as
/// `AGENT_IAC_ALERT` (the JSON) and, one by one, `AGENT_IAC_ALERT_ID`, `_KIND`,
/// `_STATUS`, `_FLEET`, `_ENVIRONMENT`, `_ABOUT`, `_OWNER`, `_WHAT` and
/// `_REPAIR`.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use agent_iac::{
///     consumer::{Allowed, LocalTeller},
///     deployment::watch::LocalAlarm,
///     secret::Secret,
/// };
///
/// let key = Secret::from_bytes(b"a key that the receiver has too".to_vec());
/// let allowed = Allowed::nothing()
///     .webhooks_of("hooks.example.com", key)
///     .command("page", "/usr/local/bin/page", ["on-call"]);
/// let teller = LocalTeller::new(allowed, BTreeMap::new());
/// let by_webhook =
///     LocalAlarm::webhook(teller.clone(), "https://hooks.example.com/alerts".parse()?);
/// let by_command = LocalAlarm::command(teller, "page");
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Debug)]
pub struct LocalAlarm {
    teller: LocalTeller,
    to: To,
}

#[derive(Debug)]
enum To {
    Webhook(Webhook),
    Command(String),
}

impl LocalAlarm {
    /// Tells a webhook, whose host is allowed.
    pub fn webhook(teller: LocalTeller, hook: Webhook) -> Self {
        Self { teller, to: To::Webhook(hook) }
    }

    /// Tells a command that is allowed under this name.
    pub fn command(teller: LocalTeller, name: impl Into<String>) -> Self {
        Self { teller, to: To::Command(name.into()) }
    }
}

#[async_trait]
impl Alarm for LocalAlarm {
    async fn raise(&self, alert: &Alert) -> Told {
        let body = match serde_json::to_string(alert) {
            Ok(body) => body,
            Err(error) => return Told::NotAllowed { because: error.to_string() },
        };
        match &self.to {
            To::Webhook(hook) => self.teller.post(hook, body).await,
            To::Command(name) => self.teller.run(name, variables(alert, body)).await,
        }
    }
}

fn variables(alert: &Alert, body: String) -> Vec<(&'static str, String)> {
    let status = match alert.status {
        AlertStatus::Raised => "raised",
        AlertStatus::Cleared => "cleared",
        AlertStatus::Happened => "happened",
    };
    let variables = [
        ("AGENT_IAC_ALERT", body),
        ("AGENT_IAC_ALERT_ID", alert.id.clone()),
        ("AGENT_IAC_ALERT_KIND", alert.kind.to_string()),
        ("AGENT_IAC_ALERT_STATUS", status.to_owned()),
        ("AGENT_IAC_ALERT_FLEET", alert.fleet.clone()),
        ("AGENT_IAC_ALERT_ENVIRONMENT", alert.environment.clone()),
        ("AGENT_IAC_ALERT_ABOUT", alert.about.clone()),
        ("AGENT_IAC_ALERT_OWNER", alert.owner.clone().unwrap_or_default()),
        ("AGENT_IAC_ALERT_WHAT", alert.what.clone()),
        ("AGENT_IAC_ALERT_REPAIR", alert.repair.clone()),
    ];
    // No process can be given a text with a zero in it.
    variables.map(|(name, text)| (name, text.replace('\0', "\u{fffd}"))).into()
}

impl fmt::Display for LocalAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            To::Webhook(hook) => write!(f, "the webhook of {}", hook.authority()),
            To::Command(name) => write!(f, "the command {name}"),
        }
    }
}
