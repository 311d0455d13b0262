//! `import`: a fleet that adopts what stands in a system, or a report of it.

use std::{fs, io::Write as _, path::Path};

use jiff::{ToSpan as _, tz::TimeZone};
use serde_json::json;

use super::Cx;
use crate::{
    cli::{
        Outcome,
        args::{self, ImportFormat},
    },
    clock::block_on,
    error::{Error, ErrorKind, Result},
    import::{Accountable, Aside, Draft, Survey, SurveyRequest},
    plan::render::{Document, Line, Style, count, printable},
    resource::Reading,
    schema::{Kind, ResourceType},
};

pub(super) fn import(cx: &Cx<'_>, args: &args::Import) -> Result<Outcome> {
    let request = SurveyRequest { provider: args.provider.clone(), only: args.only.clone() };
    let owner = match &args.owner {
        Some(owner) => owner.as_str(),
        None if args.report => "nobody",
        None => {
            let missing = "give --owner, as `--owner team:billing`: an agent has somebody who \
                           answers for it; or look first, with --report";
            return Ok(Outcome::Usage(missing.into()));
        }
    };
    // Said before the system is asked for much.
    let out = args.out.as_ref().map(|path| cx.env.path(path));
    if let Some(path) = out.as_deref().filter(|path| path.exists()) {
        return Err(there_already(path));
    }
    let mut survey = block_on(cx.deployment.survey(&request))?;
    if let Some(name) = &args.name {
        survey.fleet.clone_from(name);
    }
    let today = TimeZone::UTC.to_datetime(survey.at).date();
    let expires = args.expires.unwrap_or_else(|| today.saturating_add(1.year()));
    let draft = Draft::of(&survey, &Accountable::new(owner, expires))?;
    let aside: Vec<&Aside> = draft.aside().collect();
    summarise(cx, &survey, &draft, &aside);
    if args.report {
        report(cx, &survey, &draft, &aside);
        return Ok(outcome(&survey));
    }
    if out.is_some() && draft.agents() == 0 {
        let mut said = Document::default();
        said.extend(counted(&survey, &draft, &aside));
        said.push(Line::plain("There is nothing to adopt, and no file was written."));
        cx.ui.say(&said);
        return Ok(outcome(&survey));
    }
    let text = match args.format {
        ImportFormat::Toml => draft.toml(),
        ImportFormat::Rust => draft.rust(&args.module.clone().unwrap_or_else(|| {
            let word = |ty: &ResourceType| ty.default_provider().to_owned();
            let module = survey.found.first().map(|found| word(found.resource_type));
            format!("agent_iac::providers::{}", module.as_deref().unwrap_or(&survey.provider))
        })),
    };
    let format = match args.format {
        ImportFormat::Toml => "toml",
        ImportFormat::Rust => "rust",
    };
    if let Some(path) = &out {
        write_new(path, &text)?;
        cx.ui.event("fleet", json!({ "format": format, "file": path }));
    } else {
        cx.ui.event("fleet", json!({ "format": format, "text": text }));
        if !cx.ui.is_json() {
            cx.ui.print_raw(&text);
        }
    }
    let mut said = Document::default();
    said.extend(counted(&survey, &draft, &aside));
    cx.ui.say(&said);
    Ok(outcome(&survey))
}

/// A survey with gaps is not the whole truth, and whoever runs this in a
/// pipeline has to notice.
fn outcome(survey: &Survey) -> Outcome {
    match survey.unlisted.len() {
        0 => Outcome::Done,
        types => Outcome::Unchecked { objects: types },
    }
}

fn summarise(cx: &Cx<'_>, survey: &Survey, draft: &Draft, aside: &[&Aside]) {
    cx.ui.summarise(json!({
        "provider": survey.provider,
        "system": survey.system,
        "agents": draft.agents(),
        "resources": draft.resources(),
        "not_declared": aside.iter().map(|one| json!({
            "resource_type": one.resource_type,
            "name": one.name,
            "id": one.id,
            "why": one.why,
        })).collect::<Vec<_>>(),
        "managed": survey.managed,
        "unmatched": survey.unmatched,
        "marked": survey.marked.iter().map(|one| json!({
            "resource_type": one.resource_type.name,
            "name": one.name,
            "id": one.id,
            "mark": one.mark,
        })).collect::<Vec<_>>(),
        "unlisted": survey.unlisted,
    }));
}

/// Everything that is there, one line each.
fn report(cx: &Cx<'_>, survey: &Survey, draft: &Draft, aside: &[&Aside]) {
    let mut document = Document::default();
    for found in &survey.found {
        let suspended = if found.object.suspended { "   suspended" } else { "" };
        let heading = Line::of(Style::Heading, &found.name)
            .with(Style::Faint, format!("   {} {}", found.resource_type.name, found.object.id))
            .with(Style::Danger, suspended);
        let owned = found.belongings.iter().map(|(ty, object)| {
            Line::plain(format!("  {}   {}", ty.name, properties(ty, &object.fields)))
        });
        document.section(std::iter::once(heading).chain(owned));
        cx.ui.event(
            "found",
            json!({
                "resource_type": found.resource_type.name,
                "name": found.name,
                "object": found.object,
                "owns": found.belongings.iter().map(|(ty, object)| json!({
                    "resource_type": ty.name,
                    "kind": ty.kind,
                    "object": object,
                })).collect::<Vec<_>>(),
            }),
        );
    }
    document.section(survey.marked.iter().map(|one| {
        Line::of(Style::Change, format!("{} {}", one.resource_type.name, one.name))
            .with(Style::Plain, format!(": it is {}", one.mark))
    }));
    document.section(counted(survey, draft, aside));
    cx.ui.print(&document);
}

/// The declared properties as they were read, but for whose they are.
fn properties(ty: &ResourceType, fields: &std::collections::BTreeMap<String, Reading>) -> String {
    let shown = ty.fields.iter().filter(|field| ty.owner_field() != Some(field.name));
    let shown = shown.filter_map(|field| {
        let value = match fields.get(field.name)? {
            Reading::Known(value) if value.is_null() => return None,
            Reading::Known(value) => value.to_string(),
            Reading::Redacted => "(hidden)".to_owned(),
            Reading::Unreadable(why) => format!("(unreadable: {why})"),
            Reading::Unsupported => return None,
        };
        Some(format!("{}: {value}", field.name))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// How much there is, and what is not imported.
fn counted(survey: &Survey, draft: &Draft, aside: &[&Aside]) -> Vec<Line> {
    let kinds = [(Kind::Permission, "permission"), (Kind::Credential, "credential")];
    let [permissions, credentials] =
        kinds.map(|(kind, word)| count(survey.count(kind), word, &format!("{word}s")));
    let mut lines = vec![Line::of(
        Style::Heading,
        format!(
            "{} in {} that nobody manages, with {permissions} and {credentials}.",
            count(survey.found.len(), "identity", "identities"),
            survey.system,
        ),
    )];
    let declared = format!(
        "{} would adopt {} as they are; {} not declared.",
        count(draft.agents(), "agent", "agents"),
        count(draft.resources(), "object", "objects"),
        match aside.len() {
            1 => "1 is".to_owned(),
            more => format!("{more} are"),
        },
    );
    lines.push(Line::plain(declared));
    let passed = [
        (survey.managed, "managed by this fleet already"),
        (survey.marked.len(), "another fleet's, by their mark"),
        (survey.unmatched, "not named by --only"),
    ];
    lines.extend(
        passed
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| Line::of(Style::Faint, format!("Passed over: {number} {what}."))),
    );
    lines.extend(
        survey
            .unlisted
            .iter()
            .map(|(ty, why)| Line::of(Style::Danger, format!("{ty} could not be listed: {why}"))),
    );
    lines
}

fn there_already(path: &Path) -> Error {
    let shown = printable(&path.display().to_string());
    Error::new(ErrorKind::InvalidInput, format!("`{shown}` is there already"))
        .help("give another path, or move it away; nothing is overwritten")
}

/// Writes a file that is not there yet, as a whole or not at all.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return there_already(path);
        }
        let shown = printable(&path.display().to_string());
        Error::new(ErrorKind::Io, format!("`{shown}` could not be written")).caused_by(error)
    };
    let mut file = fs::File::create_new(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a fleet would be read as a whole one. What cannot be removed
        // either is told by the first error.
        let _: std::io::Result<()> = fs::remove_file(path);
        failed(error)
    })
}
