//! A plan as a comment on a change request.

use std::collections::BTreeMap;

use super::{
    Level, Line, Options, Style, beside, printable,
    text::{access, step_in_one_line, steps_in_full, totals, verdict},
    words::{self, count, put, short},
};
use crate::{
    access::{Effect, Verdict},
    address::Instance,
    plan::{Beside, Plan, Risk, SavedPlan, Step},
};

/// The most characters of one piece of somebody else's text.
const CELL: usize = 160;

/// A plan as Markdown, for a comment that a pipeline updates in place.
///
/// It begins with a hidden marker that names fleet and environment, and with
/// the digest. Where the whole would be longer than
/// [`Options::max_bytes`], less is shown: the details of steps go first, then
/// the lists are cut, then only counts are left; each says what it leaves out.
/// The counts are always whole, however small the limit.
pub fn markdown(saved: &SavedPlan, options: &Options) -> String {
    let page = Page { saved, plan: saved.plan(), options };
    let least = [(Level::Full, usize::MAX), (Level::Summary, 200), (Level::Summary, 40)];
    let wanted = match options.level {
        Level::Summary => Level::Summary,
        Level::Default | Level::Full => Level::Full,
    };
    least
        .into_iter()
        .filter(|(level, _)| *level <= wanted)
        .map(|(level, rows)| page.write(level, rows))
        .find(|text| text.len() <= options.max_bytes)
        .unwrap_or_else(|| page.counts())
}

struct Page<'a> {
    saved: &'a SavedPlan,
    plan: &'a Plan,
    options: &'a Options,
}

impl Page<'_> {
    fn write(&self, level: Level, rows: usize) -> String {
        let mut text = self.head();
        self.access(&mut text, rows);
        self.risky(&mut text, rows);
        if level == Level::Full {
            self.agents(&mut text);
        } else {
            self.agents_in_short(&mut text, rows);
        }
        self.lists(&mut text, rows);
        if level != Level::Full && !self.plan.steps.is_empty() {
            text.push_str("\nThe details of the steps are left out here for their size.\n");
        }
        self.foot(&mut text);
        text
    }

    /// Only numbers: as long for a million steps as for ten.
    fn counts(&self) -> String {
        let mut text = self.head();
        let mut risks: BTreeMap<Risk, usize> = BTreeMap::new();
        self.plan.steps.iter().for_each(|step| *risks.entry(step.risk).or_default() += 1);
        text.push_str("\n| Steps by risk | |\n| --- | ---: |\n");
        for (risk, number) in risks.iter().rev() {
            put(&mut text, format_args!("| {risk} | {number} |\n"));
        }
        for (title, number) in [
            ("drifted", self.plan.drift.len()),
            ("blocked", self.plan.blocked.len()),
            ("undeclared", self.plan.undeclared.len()),
            ("not checked", self.plan.unread.len()),
            ("in doubt", self.plan.in_doubt.len()),
        ] {
            put(&mut text, format_args!("| {title} | {number} |\n"));
        }
        let sources: usize = self.plan.beside.iter().map(|beside| beside.sources.len()).sum();
        for (title, number) in [
            ("sources of access besides", sources),
            ("besides, unread", self.plan.unread_beside()),
            ("warnings", self.plan.warnings().count()),
        ] {
            if number > 0 {
                put(&mut text, format_args!("| {title} | {number} |\n"));
            }
        }
        text.push_str("\nThe steps themselves are left out here for their size.\n");
        self.foot(&mut text);
        text
    }

    fn head(&self) -> String {
        let plan = self.plan;
        let sign = match verdict(plan) {
            _ if plan.is_clean() => "✅ **No changes**",
            _ if plan.is_empty() => "⚠️ **No changes, and not clean**",
            Verdict::Keeps => "🟢 **Access stays as it is**",
            Verdict::Narrows => "🟡 **Access is narrowed**",
            Verdict::Widens => "🔴 **Access is WIDENED**",
        };
        let word = |text: &str| -> String {
            // Nothing of a name may end the comment that it stands in.
            let sound = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let parts: Vec<&str> =
                text.split(|c| !sound(c)).filter(|part| !part.is_empty()).collect();
            parts.join("-").chars().take(64).collect::<String>()
        };
        let mut text = format!(
            "<!-- agent-iac:{}:{}:plan -->\n<!-- digest:{} -->\n### {sign}: {} in {}\n\n",
            word(&plan.fleet),
            word(&plan.environment),
            self.saved.digest(),
            code(&plan.fleet),
            code(&plan.environment),
        );
        if plan.is_empty() {
            let unchanged = count(plan.unchanged as usize, "resource", "resources");
            put(
                &mut text,
                format_args!(
                    "{unchanged} as declared, observed at {}.\n",
                    words::moment(plan.observed_at)
                ),
            );
        } else {
            text.push_str(&totals(plan));
            put(&mut text, format_args!("  \nAccess: {}", access(plan).1));
            put(
                &mut text,
                format_args!("  \nDigest: {}\n", code(&self.saved.digest().to_string())),
            );
        }
        text
    }

    fn access(&self, text: &mut String, rows: usize) {
        let change = self.plan.access();
        let lost = |effect| change.lost.iter().filter(move |t| t.effect == effect);
        let gained = |effect| change.gained.iter().filter(move |t| t.effect == effect);
        let row = |sign: &str, tuple: &crate::access::Tuple| {
            let condition = tuple.condition.as_deref().map(cell).unwrap_or_default();
            format!(
                "| {sign} | {} | {} | {} | {condition} |\n",
                cell(&tuple.principal),
                cell(&tuple.action),
                cell(&tuple.object)
            )
        };
        let mut table: Vec<String> = Vec::new();
        table.extend(
            change.undecided.iter().map(|why| format!("| 🔴 may gain | {} | | | |\n", cell(why))),
        );
        table.extend(gained(Effect::Allow).map(|tuple| row("🔴 gains", tuple)));
        table.extend(lost(Effect::Deny).map(|tuple| row("🔴 no longer forbidden", tuple)));
        table.extend(lost(Effect::Allow).map(|tuple| row("🟡 loses", tuple)));
        table.extend(gained(Effect::Deny).map(|tuple| row("🟡 is forbidden", tuple)));
        if table.is_empty() {
            return;
        }
        text.push_str(
            "\n| Access | Who | Action | Object | Condition |\n| --- | --- | --- | --- | --- |\n",
        );
        table.iter().take(rows).for_each(|row| text.push_str(row));
        if table.len() > rows {
            let more = count(table.len() - rows, "more statement", "more statements");
            put(text, format_args!("\n… and {more} of access.\n"));
        }
    }

    fn risky(&self, text: &mut String, rows: usize) {
        let mut risky: Vec<&Step> =
            self.plan.steps.iter().filter(|step| step.risk >= Risk::Destroys).collect();
        if risky.is_empty() {
            return;
        }
        risky.sort_by_key(|step| std::cmp::Reverse(step.risk));
        text.push_str("\n#### Steps that destroy or widen\n\n");
        for step in risky.iter().take(rows) {
            let (sign, verb, _) = words::sign(step, self.options.ascii);
            put(
                text,
                format_args!(
                    "- {} {verb} {}, {}: {}{}\n",
                    code(sign),
                    item(&step.address.to_string()),
                    words::risk(step.risk).map_or("", |(word, _)| word),
                    item(&words::why(step)),
                    step.source.as_ref().map_or_else(String::new, |source| {
                        format!(
                            ", declared at {}",
                            item(&format!("{}:{}", source.file, source.line))
                        )
                    }),
                ),
            );
        }
        if risky.len() > rows {
            let mut left: BTreeMap<(&str, Risk), usize> = BTreeMap::new();
            for step in &risky[rows..] {
                *left.entry((words::sign(step, true).1, step.risk)).or_default() += 1;
            }
            for ((verb, risk), number) in left {
                put(
                    text,
                    format_args!("- … and {} to {verb} ({risk})\n", count(number, "more", "more")),
                );
            }
        }
    }

    fn by_agent(&self) -> BTreeMap<&Instance, Vec<&Step>> {
        let mut agents: BTreeMap<&Instance, Vec<&Step>> = BTreeMap::new();
        for agent in &self.plan.agents {
            agents.entry(&agent.instance).or_default();
        }
        for step in &self.plan.steps {
            agents.entry(step.address.instance()).or_default().push(step);
        }
        agents
    }

    fn agents(&self, text: &mut String) {
        let options = Options { level: Level::Full, ..self.options.clone() };
        for (instance, steps) in self.by_agent() {
            let title = html(&instance.to_string());
            let number = count(steps.len(), "step", "steps");
            put(
                text,
                format_args!("\n<details><summary><code>{title}</code>: {number}</summary>\n\n"),
            );
            let mut lines: Vec<Line> = Vec::new();
            for agent in self.plan.agents.iter().filter(|agent| agent.instance == *instance) {
                let (sign, words, style, _) = words::agent(&agent.change, self.options.ascii);
                lines.push(Line::of(style, format!("{sign} {instance} {words}")));
            }
            lines.extend(steps_in_full(&steps, &options));
            text.push_str(&fenced(&lines));
            text.push_str("\n</details>\n");
        }
    }

    fn agents_in_short(&self, text: &mut String, rows: usize) {
        let agents = self.by_agent();
        if agents.is_empty() {
            return;
        }
        let options = Options { level: Level::Summary, ..self.options.clone() };
        let mut lines: Vec<Line> = Vec::new();
        let all: usize = agents.values().map(Vec::len).sum();
        for step in agents.values().flatten().take(rows) {
            lines.push(step_in_one_line(step, &options));
        }
        if all > rows {
            lines.push(Line::of(
                Style::Faint,
                format!("… and {}", count(all - rows, "more step", "more steps")),
            ));
        }
        let number = count(agents.len(), "agent", "agents");
        put(text, format_args!("\n<details><summary>{number}</summary>\n\n"));
        text.push_str(&fenced(&lines));
        text.push_str("\n</details>\n");
    }

    fn lists(&self, text: &mut String, rows: usize) {
        let plan = self.plan;
        let drift = plan.drift.iter().map(|drift| {
            let fields: Vec<&str> = drift.fields.keys().map(String::as_str).collect();
            let what = if drift.gone { "gone".into() } else { fields.join(", ") };
            let verdict = drift.access.verdict();
            let widens = if verdict == Verdict::Widens { ", **WIDENS**" } else { "" };
            format!("{}: {}{widens}", item(&drift.address.to_string()), item(&what))
        });
        list(text, "Drift", drift, rows);
        let blocked = plan.blocked.iter().map(|blocked| {
            format!(
                "{}: {}; help: {}",
                item(&blocked.address.to_string()),
                item(&blocked.reason),
                item(&blocked.repair)
            )
        });
        list(text, "Blocked", blocked, rows);
        let undeclared = plan.undeclared.iter().map(|found| {
            let instance = found.instance.as_ref().map(ToString::to_string);
            format!(
                "{} {} on {}{}",
                item(&found.resource_type),
                item(&words::called(&found.object)),
                instance.map_or_else(|| "nobody's identity".into(), |instance| item(&instance)),
                found.object.obstacle.as_ref().map_or_else(String::new, |why| {
                    format!("; it cannot be removed: {}", item(why))
                })
            )
        });
        list(text, "Undeclared", undeclared, rows);
        let unread = plan.unread.iter().map(|(address, why)| {
            let why: Vec<&str> = why.iter().map(String::as_str).collect();
            format!("{}: {}", item(&address.to_string()), item(&why.join("; ")))
        });
        list(text, "Not checked", unread, rows);
        let in_doubt = plan.in_doubt.iter().map(|address| item(&address.to_string()));
        list(text, "In doubt; the next apply settles these first", in_doubt, rows);
        let besides: Vec<String> = plan.beside.iter().flat_map(besides).collect();
        list(text, "Besides what is declared", besides.into_iter(), rows);
        let warnings: Vec<String> =
            plan.warnings().map(|warning| code(&short(warning, 4 * CELL))).collect();
        list(text, "Warnings", warnings.into_iter(), rows);
    }

    fn foot(&self, text: &mut String) {
        if self.options.next.is_empty() {
            return;
        }
        let lines: Vec<Line> = self.options.next.iter().map(Line::plain).collect();
        text.push_str("\nNext:\n\n");
        text.push_str(&fenced(&lines));
    }
}

/// What each source of access beside the declared gives, and to whom.
fn besides(beside: &Beside) -> Vec<String> {
    let mut items: Vec<String> = beside
        .sources
        .iter()
        .zip(beside.reached())
        .map(|(source, reached)| {
            let gives = beside::gives(source, beside::FIRST);
            let gives: Vec<String> = gives.iter().map(|text| item(text)).collect();
            format!(
                "{} at {} {}: {}",
                item(&source.name),
                item(&beside.provider),
                item(&beside::reaches(&reached, beside::FIRST)),
                gives.join("; ")
            )
        })
        .collect();
    items.extend(
        beside.unread.as_ref().map(|why| code(&short(&beside::unread(beside, why), 4 * CELL))),
    );
    items
}

fn list(text: &mut String, title: &str, items: impl ExactSizeIterator<Item = String>, rows: usize) {
    let all = items.len();
    if all == 0 {
        return;
    }
    put(text, format_args!("\n#### {title}\n\n"));
    items.take(rows).for_each(|item| put(text, format_args!("- {item}\n")));
    if all > rows {
        put(text, format_args!("- … and {}\n", count(all - rows, "more", "more")));
    }
}

/// A code span that holds exactly `text`. In one, nothing is a link, a mention
/// or markup, so what is anybody else's stands nowhere else.
fn code(text: &str) -> String {
    let text = printable(text);
    let fence = "`".repeat(longest_run(&text) + 1);
    // A space is stripped from each end, and keeps a backquote from the fence.
    format!("{fence} {text} {fence}")
}

/// A short code span.
fn item(text: &str) -> String {
    code(&short(text, CELL))
}

/// A short code span in a table, where one character would end the cell.
fn cell(text: &str) -> String {
    item(text).replace('|', "\\|")
}

fn html(text: &str) -> String {
    printable(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('`', "&#96;")
        .replace('@', "&#64;")
}

/// Lines between fences that none of them can close.
fn fenced(lines: &[Line]) -> String {
    let mut body = String::new();
    for line in lines {
        put(&mut body, format_args!("{line}\n"));
    }
    let fence = "`".repeat((longest_run(&body) + 1).max(3));
    format!("{fence}text\n{body}{fence}\n")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
