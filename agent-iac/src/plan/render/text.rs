//! A plan as lines for a terminal.

use std::collections::BTreeMap;

use super::{
    Document, Level, Line, Options, Style, beside,
    budget::{Block, fit},
    json::revoked,
    words::{self, count, name, put, short},
};
use crate::{
    access::Verdict,
    diff::Compared,
    plan::{Action, Drift, Plan, Risk, SavedPlan, Step, Undeclared},
};

/// The most characters of one value, and the most lines of one step, below
/// [`Level::Full`].
const VALUE: usize = 120;
const LINES_OF_STEP: usize = 16;

/// The most lines of each section beside the steps, below [`Level::Full`].
/// Six of them leave the steps at least half of the default 200 lines.
const SECTION: usize = 18;

/// A plan as lines: drift first, then the steps with the riskiest last, then
/// what is blocked, undeclared or not checked, then what it amounts to.
pub fn text(saved: &SavedPlan, options: &Options) -> Document {
    let plan = saved.plan();
    let view = View { options };
    let end = view.end(saved);
    let mut before = Document::default();
    let drift = view.drift(plan);
    if !drift.is_empty() {
        before.section(drift);
        before.section([Line::of(Style::Faint, if options.ascii { "----" } else { "────" })]);
    }
    before.section(view.agents(plan));
    let mut after = Document::default();
    after.section(view.blocked(plan));
    after.section(view.apart(plan));
    after.section(view.undeclared(&plan.undeclared, "Undeclared: found, and only reported"));
    view.not_known(plan, &mut after);
    after.section(end);
    // Two empty lines and the heading stand around the steps.
    let taken = before.lines().len() + after.lines().len() + 3;
    let mut document = before;
    document.section(view.steps(plan, options.max_lines.saturating_sub(taken)));
    document.section(after.lines().iter().cloned());
    document
}

/// What a plan found that is not as it was recorded or declared, as lines; what
/// would be done about it is the business of [`text`].
pub fn drift(plan: &Plan, options: &Options) -> Document {
    let view = View { options };
    let undeclared = plan.all_undeclared();
    let mut document = Document::default();
    document.section(view.drift(plan));
    document.section(view.undeclared(&undeclared, "Undeclared: nobody declared it"));
    view.not_known(plan, &mut document);
    document.section([drift_in_one_line(plan, undeclared.len())]);
    document
}

fn drift_in_one_line(plan: &Plan, undeclared: usize) -> Line {
    let mut unread = match plan.unread.len() {
        0 => String::new(),
        number => format!(", {} not checked", count(number, "object", "objects")),
    };
    if plan.unread_beside() > 0 {
        unread.push_str(", what the systems give besides is unread");
    }
    let when = words::moment(plan.observed_at);
    if plan.drift.is_empty() && undeclared == 0 && plan.in_doubt.is_empty() {
        let style = if unread.is_empty() { Style::Good } else { Style::Change };
        return Line::of(style, format!("No drift{unread}, observed at {when}."));
    }
    let drifted = count(plan.drift.len(), "object", "objects");
    let in_doubt = plan.in_doubt.len();
    let text = format!(
        "{drifted} drifted, {undeclared} undeclared{unread}, {in_doubt} in doubt, observed at {when}."
    );
    Line::of(Style::Danger, text)
}

/// The lines of some steps alone, in their order; for one agent's part of a
/// page.
pub(super) fn steps_in_full(steps: &[&Step], options: &Options) -> Vec<Line> {
    let view = View { options };
    steps.iter().flat_map(|step| view.step(step, None)).collect()
}

/// One step as one line.
pub(super) fn step_in_one_line(step: &Step, options: &Options) -> Line {
    View { options }.header(step)
}

struct View<'a> {
    options: &'a Options,
}

impl View<'_> {
    fn full(&self) -> bool {
        self.options.level == Level::Full
    }

    fn value(&self) -> usize {
        if self.full() { usize::MAX } else { VALUE }
    }

    fn room(&self, room: usize) -> usize {
        if self.full() { usize::MAX } else { room }
    }

    /// A section of equal things: its title, and what fits of it.
    fn section(
        &self,
        title: &str,
        style: Style,
        blocks: &[Block],
        one: &str,
        many: &str,
    ) -> Vec<Line> {
        if blocks.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![Line::of(style, title)];
        lines.extend(fit(blocks, self.room(SECTION), |rest| {
            vec![Line::of(Style::Faint, format!("  … and {}", count(rest.len(), one, many)))]
        }));
        lines
    }

    fn drift(&self, plan: &Plan) -> Vec<Line> {
        let blocks: Vec<Block> = plan.drift.iter().map(|drift| self.drifted(drift)).collect();
        let title = "Drift: where the real is not as it was recorded";
        self.section(title, Style::Heading, &blocks, "more object", "more objects")
    }

    fn drifted(&self, drift: &Drift) -> Block {
        let address = drift.address.to_string();
        let mut head = Line::of(Style::Change, "    ~ ").with(Style::Plain, address);
        if drift.gone {
            head = head.with(Style::Remove, "   is gone");
        }
        match drift.suspended {
            Some(true) => head = head.with(Style::Remove, "   was suspended by somebody else"),
            Some(false) => head = head.with(Style::Danger, "   was resumed by somebody else"),
            None => {}
        }
        let risk = match drift.access.verdict() {
            Verdict::Widens => Risk::Widens,
            _ if drift.suspended == Some(false) => Risk::Widens,
            _ if drift.gone => Risk::Destroys,
            Verdict::Narrows => Risk::Narrows,
            Verdict::Keeps => Risk::Low,
        };
        if self.options.level == Level::Summary {
            if let Some((word, style)) = words::risk(risk) {
                head = head.with(style, format!("   {word}"));
            }
            return Block { risk, lines: vec![head] };
        }
        let mut detail = Vec::new();
        for (field, drifted) in &drift.fields {
            let recorded = short(&drifted.recorded.to_string(), self.value());
            let (style, observed) = match &drifted.observed {
                Compared::Differs(value) => {
                    (Style::Change, short(&value.to_string(), self.value()))
                }
                Compared::Matched => continue,
                Compared::Unknown => (Style::Faint, "not known before apply".into()),
                Compared::Unreadable(why) => (Style::Faint, format!("not readable: {why}")),
                Compared::Unsupported => (Style::Faint, "the system has no such property".into()),
            };
            detail.push((style, format!("{}: {recorded} -> {observed}", name(field))));
        }
        detail.extend(words::access(&drift.access));
        let mut lines = vec![head];
        lines.extend(self.indented(detail));
        Block { risk, lines }
    }

    fn indented(&self, detail: Vec<(Style, String)>) -> Vec<Line> {
        let most = self.room(LINES_OF_STEP);
        let all = detail.len();
        // What widens stands last in each block, so the first go.
        let hidden = if all > most { all - most + 1 } else { 0 };
        let mut lines = Vec::new();
        if hidden > 0 {
            let text =
                format!("      … {}", count(hidden, "line less (--full)", "lines less (--full)"));
            lines.push(Line::of(Style::Faint, text));
        }
        lines.extend(
            detail
                .into_iter()
                .skip(hidden)
                .map(|(style, text)| Line::plain("      ").with(style, text)),
        );
        lines
    }

    fn agents(&self, plan: &Plan) -> Vec<Line> {
        let blocks: Vec<Block> = plan
            .agents
            .iter()
            .map(|step| {
                let (sign, words, style, risk) = words::agent(&step.change, self.options.ascii);
                let words = short(&words, self.value());
                let line = Line::of(style, format!("  {sign:>3} "))
                    .with(Style::Plain, step.instance.to_string())
                    .with(Style::Faint, format!("   {words}"));
                Block { risk, lines: vec![line] }
            })
            .collect();
        self.section("Agents", Style::Heading, &blocks, "more agent", "more agents")
    }

    fn steps(&self, plan: &Plan, room: usize) -> Vec<Line> {
        if plan.steps.is_empty() {
            return Vec::new();
        }
        let position = |index| self.full().then_some((index, plan.steps.len()));
        let blocks: Vec<Block> = plan
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| Block { risk: step.risk, lines: self.step(step, position(index)) })
            .collect();
        let mut lines = vec![Line::of(Style::Heading, "Steps")];
        let by_type = groups(plan.steps.iter(), true).len() <= 24;
        lines.extend(fit(&blocks, self.room(room), |rest| {
            let steps = rest.iter().map(|index| &plan.steps[*index]);
            groups(steps, by_type)
                .into_iter()
                .map(|((risk, sign, verb, resource_type), number)| {
                    let mut line = Line::plain(format!("  {:>3} {verb:<8} ", self.sign(sign)))
                        .with(Style::Plain, count(number, "more", "more"));
                    if by_type {
                        line = line.with(Style::Faint, format!(" of {resource_type}"));
                    }
                    match words::risk(risk) {
                        Some((word, style)) => line.with(style, format!("   {word}")),
                        None => line,
                    }
                })
                .collect()
        }));
        lines
    }

    fn sign(&self, signs: (&'static str, &'static str)) -> &'static str {
        if self.options.ascii { signs.1 } else { signs.0 }
    }

    fn header(&self, step: &Step) -> Line {
        let (sign, verb, style) = words::sign(step, self.options.ascii);
        let mut line = Line::of(style, format!("  {sign:>3} {verb:<8} "))
            .with(Style::Plain, step.address.to_string())
            .with(Style::Faint, format!("   {}", step.resource_type));
        if let Some(source) = &step.source {
            line = line.with(Style::Faint, format!("   {}:{}", source.file, source.line));
        }
        if let Some(half) = words::half(step) {
            line = line.with(Style::Faint, format!("   ({half})"));
        }
        match words::risk(step.risk) {
            Some((word, style)) => line.with(style, format!("   {word}")),
            None => line,
        }
    }

    /// The lines of one step. `position` is its index and the number of all,
    /// where the order of execution is shown.
    fn step(&self, step: &Step, position: Option<(usize, usize)>) -> Vec<Line> {
        let mut lines = vec![self.header(step)];
        if self.options.level == Level::Summary {
            return lines;
        }
        let mut detail = vec![(Style::Faint, format!("why: {}", words::why(step)))];
        if let Some((index, all)) = position {
            let after: Vec<String> =
                step.after.iter().map(|before| (before + 1).to_string()).collect();
            let after = if after.is_empty() {
                String::new()
            } else {
                format!(", after {}", after.join(", "))
            };
            let text =
                format!("order: {} of {all}{after}; provider {}", index + 1, name(&step.provider));
            detail.push((Style::Faint, text));
            detail.push((Style::Faint, format!("seen: {}", words::seen(&step.seen))));
        }
        for change in &step.changes {
            detail.extend(words::property(change, self.value()));
        }
        if let Some(target) = &step.target {
            let others = target.properties.len().saturating_sub(step.changes.len());
            if others > 0
                && !step.changes.is_empty()
                && step.changes.iter().any(|c| c.before.is_some())
            {
                let text = count(others, "unchanged property", "unchanged properties");
                detail.push((Style::Faint, format!("… {text}")));
            }
            if let Some(credential) = &target.credential {
                let text = format!("generation {} at {}", credential.generation, credential.place);
                detail.push((Style::Plain, text));
            }
            if target.protect {
                detail.push((Style::Plain, "protected: it may not be deleted or replaced".into()));
            }
        }
        if let Some(retires) = &step.retires {
            let text = format!("ends generation {} at {}", retires.generation, retires.place);
            detail.push((Style::Plain, text));
        }
        if let Some(because) = &step.because {
            detail.push((Style::Plain, format!("because: {}", short(because, self.value()))));
        }
        detail.extend(step.notes.iter().map(|note| (Style::Change, format!("note: {note}"))));
        detail.extend(words::access(&step.access));
        lines.extend(self.indented(detail));
        lines
    }

    fn blocked(&self, plan: &Plan) -> Vec<Line> {
        let blocks: Vec<Block> = plan
            .blocked
            .iter()
            .map(|blocked| {
                let head = Line::of(Style::Danger, "    ! ")
                    .with(Style::Plain, blocked.address.to_string())
                    .with(Style::Plain, format!(": {}", short(&blocked.reason, self.value())));
                let help = Line::of(Style::Faint, format!("      help: {}", blocked.repair));
                let lines = if self.options.level == Level::Summary {
                    vec![head]
                } else {
                    vec![head, help]
                };
                Block { risk: Risk::Low, lines }
            })
            .collect();
        let title = "Blocked: what should change and may not, or cannot";
        self.section(title, Style::Danger, &blocks, "more that is blocked", "more that are blocked")
    }

    /// What is in doubt, could not be read, or is given by others.
    fn not_known(&self, plan: &Plan, document: &mut Document) {
        document.section(self.unread(plan));
        document.section(self.in_doubt(plan));
        document.section(self.beside(plan));
        document.section(self.warnings(plan));
    }

    fn undeclared(&self, undeclared: &[Undeclared], title: &str) -> Vec<Line> {
        let blocks: Vec<Block> = undeclared.iter().map(|found| self.found(found)).collect();
        self.section(title, Style::Heading, &blocks, "more object", "more objects")
    }

    fn found(&self, found: &Undeclared) -> Block {
        let whose = match &found.instance {
            Some(instance) => format!("on {instance}"),
            None => "on nobody's identity".into(),
        };
        let head = Line::of(Style::Change, "    ? ")
            .with(Style::Plain, format!("{} {}", found.resource_type, words::called(&found.object)))
            .with(Style::Faint, format!("   {whose}, at {}", name(&found.provider)));
        let change = crate::access::Access::NONE.change_to(&found.access);
        let mut lines = vec![head];
        if self.options.level != Level::Summary {
            let gives = found.access.tuples.iter().map(|tuple| {
                let known_as = found.object.label.as_deref().unwrap_or(&found.object.id);
                let itself = tuple.principal == found.object.id;
                let text = format!(
                    "gives {} {} on {}",
                    name(if itself { known_as } else { &tuple.principal }),
                    name(&tuple.action),
                    name(&tuple.object)
                );
                (Style::Change, text)
            });
            lines.extend(self.indented(gives.collect()));
            if let Some(why) = &found.object.obstacle {
                let text = format!("      it cannot be removed: {}", short(why, self.value()));
                lines.push(Line::of(Style::Danger, text));
            }
        }
        let risk = if change.verdict() == Verdict::Widens { Risk::Widens } else { Risk::Low };
        Block { risk, lines }
    }

    fn unread(&self, plan: &Plan) -> Vec<Line> {
        let blocks: Vec<Block> = plan
            .unread
            .iter()
            .map(|(address, why)| {
                let why: Vec<&str> = why.iter().map(String::as_str).collect();
                // It ends with the repair, which nobody can read elsewhere.
                let most = self.value().saturating_mul(4);
                let line = Line::of(Style::Change, "    ? ")
                    .with(Style::Plain, address.to_string())
                    .with(Style::Faint, format!(": {}", short(&why.join("; "), most)));
                Block { risk: Risk::Low, lines: vec![line] }
            })
            .collect();
        self.section("Not checked", Style::Heading, &blocks, "more object", "more objects")
    }

    fn in_doubt(&self, plan: &Plan) -> Vec<Line> {
        let blocks: Vec<Block> = plan
            .in_doubt
            .iter()
            .map(|address| {
                let line =
                    Line::of(Style::Danger, "    ! ").with(Style::Plain, address.to_string());
                Block { risk: Risk::Low, lines: vec![line] }
            })
            .collect();
        let title = "In doubt: an earlier run did not end; the next apply settles these first";
        self.section(title, Style::Danger, &blocks, "more object", "more objects")
    }

    fn beside(&self, plan: &Plan) -> Vec<Line> {
        let most = if self.full() { usize::MAX } else { beside::FIRST };
        let mut blocks = Vec::new();
        for beside in &plan.beside {
            for (source, reached) in beside.sources.iter().zip(beside.reached()) {
                let at = format!(
                    "   {}, at {}: {}",
                    beside::reaches(&reached, most),
                    name(&beside.provider),
                    beside::size(source),
                );
                let mut lines = vec![
                    Line::of(Style::Change, "    + ")
                        .with(Style::Plain, name(&source.name))
                        .with(Style::Faint, short(&at, self.value())),
                ];
                if self.options.level != Level::Summary {
                    let gives = beside::gives(source, most).into_iter();
                    let gives = gives.map(|text| (Style::Plain, short(&text, self.value())));
                    lines.extend(self.indented(gives.collect()));
                }
                blocks.push(Block { risk: Risk::Low, lines });
            }
            if let Some(why) = &beside.unread {
                let text = short(&beside::unread(beside, why), self.value().saturating_mul(4));
                let line = Line::of(Style::Danger, "    ? ").with(Style::Change, text);
                blocks.push(Block { risk: Risk::Widens, lines: vec![line] });
            }
        }
        let title = "Besides what is declared: what the systems give to these identities anyway";
        self.section(title, Style::Heading, &blocks, "more source", "more sources")
    }

    fn apart(&self, plan: &Plan) -> Vec<Line> {
        let blocks: Vec<Block> = plan
            .apart
            .iter()
            .map(|(instance, why)| {
                let text = short(&words::apart(instance, why), self.value().saturating_mul(4));
                let line = Line::of(Style::Change, format!("    {instance}: "));
                Block { risk: Risk::Low, lines: vec![line.with(Style::Plain, text)] }
            })
            .collect();
        let title = "Left alone: agents of which nothing is made or changed, whatever is declared";
        self.section(title, Style::Heading, &blocks, "more agent", "more agents")
    }

    fn warnings(&self, plan: &Plan) -> Vec<Line> {
        let blocks: Vec<Block> = plan
            .warnings()
            .map(|warning| {
                let text = short(warning, self.value().saturating_mul(4));
                let line = Line::of(Style::Danger, "    ! ").with(Style::Plain, text);
                Block { risk: Risk::Low, lines: vec![line] }
            })
            .collect();
        self.section("Warnings", Style::Danger, &blocks, "more warning", "more warnings")
    }

    fn end(&self, saved: &SavedPlan) -> Vec<Line> {
        let plan = saved.plan();
        let mut lines = Vec::new();
        if plan.is_empty() {
            lines.push(nothing(plan));
        } else {
            lines.push(Line::of(Style::Heading, totals(plan)));
            let (style, words) = access(plan);
            lines.push(Line::plain("Access: ").with(style, words));
            if plan.unread_beside() > 0 {
                lines.push(Line::of(
                    Style::Change,
                    "Not read: what the systems give besides, as said above.",
                ));
            }
            if !plan.unread.is_empty() {
                let text = count(plan.unread.len(), "object", "objects");
                lines.push(Line::of(
                    Style::Change,
                    format!("Not checked: {text}, as listed above."),
                ));
            }
            let text = format!(
                "Plan {} of fleet {} in {}.",
                saved.digest().short(),
                name(&plan.fleet),
                name(&plan.environment)
            );
            lines.push(Line::plain(text));
        }
        let next = &self.options.next;
        lines.extend(next.iter().enumerate().map(|(index, command)| {
            let word = if index == 0 { "Next:" } else { "  or:" };
            Line::plain(format!("{word}  ")).with(Style::Heading, command)
        }));
        lines
    }
}

fn nothing(plan: &Plan) -> Line {
    let all = plan.is_clean() && plan.apart.is_empty();
    let style = if all { Style::Good } else { Style::Change };
    let as_declared = count(plan.unchanged as usize, "resource is", "resources are");
    let mut text = match plan.blocked.len() {
        0 => format!("No changes. {as_declared} as declared"),
        blocked => {
            let blocked = count(blocked, "change is", "changes are");
            format!("No step can be taken: {blocked} blocked. {as_declared} as declared")
        }
    };
    for (number, what) in [
        (plan.unread.len(), "not checked"),
        (plan.drift.len(), "drifted"),
        (plan.undeclared.len(), "undeclared"),
        (plan.in_doubt.len(), "in doubt"),
    ] {
        if number > 0 {
            put(&mut text, format_args!(", {number} {what}"));
        }
    }
    if plan.unread_beside() > 0 {
        text.push_str(", what the systems give besides is unread");
    }
    if !plan.apart.is_empty() {
        put(&mut text, format_args!(", {} left alone", count(plan.apart.len(), "agent", "agents")));
    }
    Line::of(style, format!("{text}, observed at {}.", words::moment(plan.observed_at)))
}

/// Steps of one risk, sign, verb and type, and how many.
type Groups<'a> = BTreeMap<(Risk, (&'static str, &'static str), &'static str, &'a str), usize>;

fn groups<'a>(steps: impl Iterator<Item = &'a Step>, by_type: bool) -> Groups<'a> {
    let mut groups = Groups::new();
    for step in steps {
        let signs = (words::sign(step, false).0, words::sign(step, true).0);
        let resource_type = if by_type { step.resource_type.as_str() } else { "" };
        *groups.entry((step.risk, signs, words::sign(step, true).1, resource_type)).or_default() +=
            1;
    }
    groups
}

/// How many of what, in one sentence.
pub(super) fn totals(plan: &Plan) -> String {
    let totals = plan.totals();
    let revoke = revoked(plan);
    let mut text = format!(
        "Plan: {} to adopt, {} to add, {} to change, {} to replace, {} to revoke, {} to destroy",
        totals.adopt,
        totals.create,
        totals.update,
        totals.replace,
        revoke,
        totals.delete.saturating_sub(revoke),
    );
    for (number, what) in [
        (totals.rotate.saturating_sub(ended(plan)), "to rotate"),
        (ended(plan), "older to end"),
        (totals.suspend, "to suspend"),
        (totals.resume, "to resume"),
        (totals.record, "to record"),
    ] {
        if number > 0 {
            put(&mut text, format_args!(", {number} {what}"));
        }
    }
    text.push('.');
    text
}

/// How many older generations of credentials the plan ends that have had their
/// time; each counts with the rotations for programs.
fn ended(plan: &Plan) -> u32 {
    let ends = plan.steps.iter().filter(|step| words::ends_older(step)).count();
    u32::try_from(ends).unwrap_or(u32::MAX)
}

/// What the plan does to access: who may act again gains, too.
pub(super) fn verdict(plan: &Plan) -> Verdict {
    if resumed(plan) > 0 { Verdict::Widens } else { plan.verdict() }
}

fn resumed(plan: &Plan) -> usize {
    plan.steps.iter().filter(|step| step.action == Action::Resume).count()
}

/// What the plan does to access, in one sentence.
pub(super) fn access(plan: &Plan) -> (Style, String) {
    let sentences = words::access(&plan.access());
    let widens = sentences.iter().filter(|(style, _)| *style == Style::Danger).count();
    let narrows = sentences.len() - widens;
    let resumed = match resumed(plan) {
        0 => String::new(),
        number => format!(", {} again", count(number, "identity may act", "identities may act")),
    };
    match verdict(plan) {
        Verdict::Widens => (Style::Danger, format!("WIDENS {widens}, narrows {narrows}{resumed}.")),
        Verdict::Narrows => (Style::Change, format!("narrows {narrows}, widens nothing.")),
        Verdict::Keeps => (Style::Good, "stays as it is.".into()),
    }
}
