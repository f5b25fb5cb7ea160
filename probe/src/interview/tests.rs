use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::limits::Limits;
use crate::session::fake::{Fake, block_on, short};

/// Asks what it is told to, and writes down everything.
#[derive(Default)]
struct Notes {
    opening: Vec<Request>,
    /// What to ask when this command was answered.
    then: BTreeMap<String, Vec<Request>>,
    primer: Option<&'static str>,
    greetings: Vec<String>,
    heard: Vec<(Request, Reply)>,
    quarantined: Vec<(Request, String)>,
}

impl Notes {
    fn asking(opening: Vec<Request>) -> Self {
        Self { opening, ..Self::default() }
    }

    fn heard(&self) -> Vec<&str> {
        self.heard.iter().map(|(request, _)| request.execute.as_str()).collect()
    }

    fn quarantined(&self) -> Vec<(&str, &str)> {
        self.quarantined
            .iter()
            .map(|(request, reason)| (request.execute.as_str(), reason.as_str()))
            .collect()
    }
}

impl Interviewer for Notes {
    type Error = Infallible;

    fn greeted(&mut self, greeting: &str, executable: Executable) -> Result<(), Infallible> {
        assert!(executable.path.is_absolute());
        self.greetings.push(greeting.to_owned());
        Ok(())
    }

    fn opening(&mut self) -> Vec<Request> {
        self.opening.clone()
    }

    fn primes(&self, request: &Request) -> bool {
        self.primer == Some(&request.execute)
    }

    fn heard(
        &mut self,
        request: &Request,
        reply: Reply,
        _: Duration,
    ) -> Result<Vec<Request>, Infallible> {
        self.heard.push((request.clone(), reply));
        Ok(self.then.remove(&request.execute).unwrap_or_default())
    }

    fn quarantined(&mut self, request: &Request, reason: String) -> Result<(), Infallible> {
        self.quarantined.push((request.clone(), reason));
        Ok(())
    }
}

fn run(
    fake: &Fake,
    accelerator: &str,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Interviewed, InterviewError<Infallible>> {
    let terms = Terms::new(limits);
    let result = block_on(interview(&fake.launch(accelerator), &terms, notes));
    fake.assert_gone();
    result
}

fn commands(names: &[&str]) -> Vec<Request> {
    names.iter().map(|name| Request::new(*name)).collect()
}

/// An emulator that answers everything but for the commands that `cases` has.
fn answering(cases: &str) -> Fake {
    Fake::new(&format!(
        "negotiate; while hear; do case $name in {cases} *) answer \"\\\"$name\\\"\";; esac; done"
    ))
}

const FIVE: [&str; 5] = ["one", "two", "three", "four", "five"];

#[test]
fn everything_is_asked_and_answers_lead_to_questions() {
    let mut notes = Notes::asking(commands(&FIVE));
    notes.then.insert("two".into(), commands(&["six", "seven"]));
    notes.then.insert("seven".into(), commands(&["eight"]));
    let report = run(&answering(""), "tcg", &short(), &mut notes).unwrap();
    assert_eq!(notes.heard(), ["one", "two", "three", "four", "five", "six", "seven", "eight"]);
    assert_eq!(notes.heard[0].1, Reply::Return("\"one\"".into()));
    assert_eq!(notes.greetings.len(), 1);
    assert_eq!(report, Interviewed { starts: 1, lost: vec![], output: String::new() });
}

#[test]
fn an_interviewer_without_questions_hears_the_greeting_only() {
    let mut notes = Notes::default();
    let report = run(&answering(""), "tcg", &short(), &mut notes).unwrap();
    assert_eq!((report.starts, notes.greetings.len(), notes.heard.len()), (1, 1, 0));
}

#[test]
fn whichever_query_kills_is_quarantined_and_all_others_are_answered() {
    for guilty in FIVE {
        let fake = answering(&format!("{guilty}) echo 'cannot do that' >&2; exit 1;;"));
        let mut notes = Notes::asking(commands(&FIVE));
        let report = run(&fake, "tcg", &short(), &mut notes).unwrap();
        let reason = "exited with status 1: cannot do that";
        assert_eq!(notes.quarantined(), [(guilty, reason)]);
        let innocent: Vec<_> = FIVE.into_iter().filter(|name| *name != guilty).collect();
        assert_eq!(notes.heard(), innocent);
        assert_eq!(report.lost.len(), 2);
        assert_eq!(report.lost[1].output, "cannot do that\n");
        // The last restart is needed only if something is left to be asked.
        assert!(report.starts == 3 || guilty == "one" || guilty == "five", "{report:?}");
    }
}

#[test]
fn a_query_that_answers_and_then_kills_is_quarantined_and_its_answer_does_not_count() {
    for guilty in FIVE {
        let fake = answering(&format!("{guilty}) answer 1; kill -ABRT $$;;"));
        let mut notes = Notes::asking(commands(&FIVE));
        run(&fake, "tcg", &short(), &mut notes).unwrap();
        let reason = "answered, then was killed by signal 6 (SIGABRT)";
        assert_eq!(notes.quarantined(), [(guilty, reason)]);
        let mut heard = notes.heard();
        heard.sort_unstable();
        let mut innocent: Vec<_> = FIVE.into_iter().filter(|name| *name != guilty).collect();
        innocent.sort_unstable();
        assert_eq!(heard, innocent);
    }
}

#[test]
fn a_query_that_makes_an_emulator_deaf_is_quarantined() {
    let fake = answering("three) answer 1; sleep 1000;;");
    let mut notes = Notes::asking(commands(&FIVE));
    let report = run(&fake, "tcg", &short(), &mut notes).unwrap();
    assert_eq!(notes.quarantined(), [("three", "answered, then went deaf")]);
    assert_eq!(notes.heard(), ["one", "two", "four", "five"]);
    assert_eq!(report.lost[0].reason, "gave no answer within 0.7 s");
}

#[test]
fn a_query_that_is_never_answered_is_quarantined() {
    let fake = answering("three) sleep 1000;;");
    let mut notes = Notes::asking(commands(&FIVE));
    run(&fake, "tcg", &short(), &mut notes).unwrap();
    assert_eq!(notes.quarantined(), [("three", "gave no answer within 0.7 s")]);
    assert_eq!(notes.heard(), ["one", "two", "four", "five"]);
}

#[test]
fn a_query_with_an_endless_answer_is_quarantined() {
    let fake = answering(r"three) yes | tr -d '\n' >&3;;");
    let mut notes = Notes::asking(commands(&FIVE));
    let limits = Limits { line_bytes: 100_000, ..Limits::default() };
    run(&fake, "tcg", &limits, &mut notes).unwrap();
    assert_eq!(notes.quarantined(), [("three", "sent a line of more than 100000 bytes")]);
    assert_eq!(notes.heard(), ["one", "two", "four", "five"]);
}

#[test]
fn several_guilty_ones_in_a_row_are_all_found() {
    let fake = answering("two) answer 1; exit 2;; three) exit 3;; four) exec 3>&-; sleep 1000;;");
    let mut notes = Notes::asking(commands(&FIVE));
    run(&fake, "tcg", &Limits::default(), &mut notes).unwrap();
    let mut quarantined = notes.quarantined();
    quarantined.sort_unstable();
    let expected = [
        ("four", "closed its monitor"),
        ("three", "exited with status 3"),
        ("two", "answered, then exited with status 2"),
    ];
    assert_eq!(quarantined, expected);
    assert_eq!(notes.heard(), ["one", "five"]);
}

#[test]
fn queries_that_only_kill_after_others_are_answered_alone() {
    let fake = answering("one) seen=1; answer 1;; three) [ $seen ] && exit 1; answer 3;;");
    let mut notes = Notes::asking(commands(&FIVE));
    let report = run(&fake, "tcg", &short(), &mut notes).unwrap();
    assert_eq!(notes.quarantined(), []);
    let mut heard = notes.heard();
    heard.sort_unstable();
    assert_eq!(heard, ["five", "four", "one", "three", "two"]);
    assert_eq!(report.lost.len(), 1);
}

#[test]
fn what_changes_other_answers_is_asked_again_after_a_restart_and_heard_once() {
    let fake = answering(
        "types) loaded=yes; answer 1;; two) exit 1;; options) answer \"\\\"$loaded\\\"\";;",
    );
    let mut notes = Notes::asking(commands(&["types", "one", "two", "options"]));
    notes.primer = Some("types");
    run(&fake, "tcg", &short(), &mut notes).unwrap();
    assert_eq!(notes.heard(), ["types", "one", "options"]);
    assert_eq!(notes.heard[2].1, Reply::Return("\"yes\"".into()));
}

#[test]
fn an_emulator_that_is_lost_at_every_query_is_given_up() {
    let names: Vec<_> = (0..40).map(|number| format!("query-{number}")).collect();
    let mut notes = Notes::asking(names.iter().map(Request::new).collect());
    let error = run(&Fake::new("negotiate; hear; exit 7"), "tcg", &short(), &mut notes);
    let Err(InterviewError::TooManyRestarts { restarts, last }) = error else {
        panic!("{error:?}")
    };
    assert_eq!((restarts, last.as_str()), (32, "exited with status 7"));
    assert_eq!(notes.heard(), [""; 0]);
}

#[test]
fn an_emulator_that_starts_only_once_is_given_up() {
    let fake = Fake::new(r#"[ -e "$0.once" ] && exit 8; : > "$0.once"; negotiate; hear; exit 7"#);
    let mut notes = Notes::asking(commands(&FIVE));
    let error = run(&fake, "tcg", &short(), &mut notes);
    let Err(InterviewError::TooManyRestarts { last, .. }) = error else { panic!("{error:?}") };
    assert_eq!(last, "exited with status 8");
}

#[test]
fn an_emulator_that_is_replaced_on_the_way_is_noticed() {
    let fake = Fake::new(
        r#"[ -e "$0.once" ] && { say '{"QMP": {"version": 2}}'; hear; answer 1; hear; }
        : > "$0.once"; negotiate; hear; exit 7"#,
    );
    let error = run(&fake, "tcg", &short(), &mut Notes::asking(commands(&FIVE)));
    assert!(matches!(error, Err(InterviewError::Replaced)), "{error:?}");
}

#[test]
fn the_deadline_of_the_probe_ends_all_restarts() {
    let fake = answering("*) sleep 1000;;");
    let mut notes = Notes::asking(commands(&FIVE));
    let limits = Limits { probe: Duration::from_secs(1), ..short() };
    let error = run(&fake, "tcg", &limits, &mut notes);
    let Err(InterviewError::Deadline { waited, unanswered, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(waited >= limits.probe && waited < 2 * limits.probe, "{waited:?}");
    assert_eq!(unanswered + notes.quarantined.len(), 5);
}

#[test]
fn what_all_processes_send_together_is_limited() {
    let fake = answering(r#"two) yes '{"event": "X"}' | head -c 300000 >&3; exit 1;;"#);
    let limits = Limits { total_bytes: 500_000, ..Limits::default() };
    let error = run(&fake, "tcg", &limits, &mut Notes::asking(commands(&FIVE)));
    assert!(
        matches!(error, Err(InterviewError::TooMuchOutput { limit_bytes: 500_000 })),
        "{error:?}"
    );
}

#[test]
fn an_accelerator_that_an_emulator_lacks_is_an_error_of_the_start() {
    let Some(qemu) = Fake::installed("qemu-system-aarch64") else { return };
    let error = run(&qemu, "nonesuch", &Limits::default(), &mut Notes::default());
    let Err(InterviewError::Start(StartError::NoGreeting { source, output, .. })) = error else {
        panic!("{error:?}")
    };
    assert!(source.to_string().starts_with("exited with status 1: "), "{source}");
    assert!(output.contains("invalid accelerator nonesuch"), "{output}");
}

/// Asks a real emulator for properties that kill it, among others that do not.
fn ask_dangerous_questions(accelerator: &str) {
    let Some(qemu) = Fake::installed("qemu-system-x86_64") else { return };
    let about = |command: &str, name: &str| {
        Request::with(command, &serde_json::json!({ "typename": name }))
    };
    let device = |name| about("device-list-properties", name);
    let object = |name| about("qom-list-properties", name);
    let mut opening = commands(&["qom-list-types", "query-machines", "query-qmp-schema"]);
    opening.extend(["virtio-blk-pci", "virtio-gpu-gl-pci", "virtio-net-pci", "e1000"].map(device));
    opening.extend(
        ["iothread", "colo-compare", "filter-dump", "rng-random", "x-remote-object", "secret"]
            .map(object),
    );
    let mut notes = Notes::asking(opening.clone());
    notes.primer = Some("qom-list-types");
    notes.then.insert("query-machines".into(), commands(&["query-kvm", "query-cpu-definitions"]));
    let report = run(&qemu, accelerator, &Limits::default(), &mut notes).unwrap();

    let mut expected = opening;
    expected.extend(commands(&["query-kvm", "query-cpu-definitions"]));
    for request in &expected {
        let heard = notes.heard.iter().filter(|(heard, _)| heard == request).count();
        let quarantined = notes.quarantined.iter().filter(|(one, _)| one == request).count();
        assert_eq!(heard + quarantined, 1, "{request:?}");
    }
    // Which ones are guilty depends on the version and on how it was built: each of them, asked alone in a process
    // of its own, must be lost, and nobody else.
    for request in &expected {
        let mut alone = Notes::asking(vec![request.clone()]);
        let alone_report = run(&qemu, accelerator, &Limits::default(), &mut alone).unwrap();
        assert_eq!(
            notes.quarantined.iter().any(|(one, _)| one == request),
            !alone_report.lost.is_empty(),
            "{request:?}: {:?}",
            notes.quarantined
        );
    }
    let kvm = notes.heard.iter().find(|(request, _)| request.execute == "query-kvm").unwrap();
    let enabled = format!("\"enabled\": {}", accelerator == "kvm");
    assert!(matches!(&kvm.1, Reply::Return(text) if text.contains(&enabled)), "{kvm:?}");
    eprintln!("{accelerator}: {} starts, quarantined {:#?}", report.starts, notes.quarantined);
}

#[test]
fn a_real_emulator_is_asked_around_what_kills_it_under_tcg() {
    ask_dangerous_questions("tcg");
}

#[test]
fn a_real_emulator_is_asked_around_what_kills_it_under_kvm() {
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        eprintln!("skipped: /dev/kvm: {error}");
        return;
    }
    ask_dangerous_questions("kvm");
}
