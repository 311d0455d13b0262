//! `rotate`.

use std::{collections::BTreeSet, io::BufRead};

use serde_json::json;

use super::{
    Cx,
    apply::{Given, acknowledge},
    plan::{tell, typed},
};
use crate::{
    cli::{Outcome, args},
    clock::block_on,
    deployment::RotateRequest,
    error::{Error, ErrorKind, Result},
    plan::{
        SavedPlan,
        render::{Level, Line, Style, count},
    },
    rotation::Phase,
};

pub(super) fn rotate(cx: &Cx<'_>, args: &args::Rotate, input: &mut dyn BufRead) -> Result<Outcome> {
    let blueprint = match cx.deployment.blueprint() {
        Ok(blueprint) => blueprint,
        Err(mistakes) => return Ok(Outcome::Invalid(mistakes)),
    };
    if let Some(unknown) = args.agents.iter().find(|agent| blueprint.agent(agent).is_none()) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("the fleet declares no agent `{unknown}`"),
        )
        .help("`inventory` lists the agents"));
    }
    let agents: BTreeSet<_> = args.agents.iter().cloned().collect();
    let named = args.all || !agents.is_empty();
    let mut context = cx.context();
    let settled = cx.run(cx.deployment.recover(&context))?;
    if settled.run.is_some() {
        cx.ui.say_line(Line::of(Style::Heading, "An earlier run did not end; this was settled:"));
        let _told: Outcome = cx.report(&settled);
    }
    if args.compromised {
        if !named {
            return Ok(Outcome::Usage("say whose, or --all".into()));
        }
        return compromised(cx, args, &agents);
    }
    if !named {
        let report = cx.run(cx.deployment.rotate(&agents, &context))?;
        return Ok(cx.report(&report));
    }
    let request = RotateRequest::now(agents);
    let plan = block_on(cx.deployment.plan_rotation(&request))?;
    let blocked = plan.blocked.len();
    let saved = SavedPlan::new(plan)?.proposed_by(context.actor.clone());
    cx.ui.say(&cx.text(&saved, Level::Default, Vec::new()));
    tell(cx, &saved, Vec::new());
    if saved.plan().is_empty() {
        return Ok(match blocked {
            0 => Outcome::Done,
            changes => Outcome::Blocked { changes },
        });
    }
    let mut command = format!("{} rotate", typed(&cx.ui.program));
    for agent in &args.agents {
        command.push(' ');
        command.push_str(&typed(&agent.to_string()));
    }
    if args.all {
        command.push_str(" --all");
    }
    let command = format!("{command} --digest {}", saved.digest().short());
    let given = Given { digest: args.digest.as_deref(), was_saved: false, command };
    if let Some(refused) = acknowledge(cx, given, &saved, input)? {
        return Ok(refused);
    }
    context.acknowledged = Some(saved.digest());
    let report = cx.run(cx.deployment.apply(&saved, &context))?;
    Ok(cx.report(&report))
}

/// Shows who is cut off, and then replaces and ends at once.
fn compromised(
    cx: &Cx<'_>,
    args: &args::Rotate,
    agents: &BTreeSet<crate::address::Instance>,
) -> Result<Outcome> {
    let Some(reason) = &args.reason else {
        return Ok(Outcome::Usage("say why, with --reason: it is recorded".into()));
    };
    let context = cx.context();
    let blueprint = cx.deployment.blueprint().map_err(Error::from)?;
    let phases = block_on(cx.deployment.phases(agents))?;
    let phases: Vec<_> =
        phases.iter().filter(|(_, phase)| !matches!(phase, Phase::Absent)).collect();
    cx.ui.say_line(Line::of(
        Style::Danger,
        format!(
            "{} replaced and ended at once, whoever uses them:",
            count(phases.len(), "credential is", "credentials are")
        ),
    ));
    for (address, _) in &phases {
        let desired = blueprint.resources().get(*address).and_then(|d| d.credential.as_ref());
        let consumers = desired.map(|credential| &credential.consumers);
        let who = match consumers.filter(|consumers| !consumers.is_empty()) {
            Some(consumers) => {
                let names: Vec<String> = consumers.iter().map(ToString::to_string).collect();
                format!("cuts off {} until they have the new one", names.join(", "))
            }
            None => "cuts off whoever uses it until they have the new one".to_owned(),
        };
        cx.ui.say_line(Line::plain(format!("  {address}: {who}")));
    }
    let marked = block_on(cx.deployment.compromised(agents, reason, &context.actor))?;
    cx.ui.summarise(json!({ "compromised": marked }));
    let report = cx.run(cx.deployment.replace_compromised(agents, &context))?;
    Ok(cx.report(&report))
}
