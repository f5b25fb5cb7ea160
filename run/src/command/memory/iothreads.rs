//! I/O threads.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

/// The greatest number of threads that have no element of their own.
const MAX: u32 = 1 << 12;

/// Adds I/O threads, and the limits of the main loop.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let mut numbers = BTreeSet::new();
    let named = cx.domain.child("iothreadids");
    for view in named.into_iter().flat_map(|ids| ids.children("iothread")) {
        let number: Option<u32> = view.number("@id")?;
        let number = number
            .filter(|number| *number > 0)
            .ok_or_else(|| view.invalid("", "the id is missing or 0; add a positive one"))?;
        if !numbers.insert(number) {
            return Err(view.invalid("@id", "another thread has it; use another"));
        }
        args.object(&thread(cx, view, number)?);
    }
    for number in unnamed(cx, &numbers)? {
        args.object(&Props::object("iothread", name(number)));
    }
    if let Some(view) = cx.domain.child("defaultiothread")
        && let Some(pool) = pool(cx, view)?
    {
        let mut props = Props::object("main-loop", "main-loop");
        props.append(pool);
        args.object(&props);
    }
    Ok(())
}

/// Returns the id of a thread.
pub(in crate::command) fn name(number: u32) -> String {
    format!("iothread{number}")
}

/// Returns whether the guest has a thread.
pub(in crate::command) fn exists(cx: &Context<'_>, number: u32) -> Result<bool, Error> {
    if let Some(numbers) = cx.iothreads.get() {
        return Ok(numbers.contains(&number));
    }
    let mut numbers = BTreeSet::new();
    let named = cx.domain.child("iothreadids");
    for view in named.into_iter().flat_map(|ids| ids.children("iothread")) {
        numbers.extend(view.number::<u32>("@id")?);
    }
    numbers.extend(unnamed(cx, &numbers)?);
    Ok(cx.iothreads.get_or_init(|| numbers).contains(&number))
}

/// Returns the id of the thread that an attribute `iothread` names.
pub(in crate::command) fn of_driver(
    cx: &Context<'_>,
    view: View<'_>,
) -> Result<Option<String>, Error> {
    let number: Option<u32> = view.number("driver@iothread")?;
    match number.filter(|number| *number > 0) {
        Some(number) if !exists(cx, number)? => Err(missing(view, "driver@iothread", number)),
        number => Ok(number.map(name)),
    }
}

/// Returns the threads that serve the queues of a device, which are listed in its element `<driver>`.
pub(in crate::command) fn mapping(
    cx: &Context<'_>,
    view: View<'_>,
    queues: Option<u32>,
) -> Result<Option<Value>, Error> {
    let Some(list) = view.child("driver").and_then(|driver| driver.child("iothreads")) else {
        return Ok(None);
    };
    let (mut threads, mut mapped) = (BTreeSet::new(), BTreeSet::new());
    let (mut with_queues, mut without_queues) = (false, false);
    let mut mapping = Vec::new();
    for thread in list.children("iothread") {
        let number: u32 = thread.number("@id")?.unwrap_or(0);
        if !exists(cx, number)? {
            return Err(missing(thread, "@id", number));
        }
        if !threads.insert(number) {
            return Err(thread.invalid("@id", "the thread is there twice; remove one"));
        }
        let mut props = Props::default().with("iothread", name(number));
        let mut its = Vec::new();
        for queue in thread.children("queue") {
            let number: u32 = queue.number("@id")?.unwrap_or(u32::MAX);
            if queues.is_none_or(|queues| number >= queues) {
                let what = "it is not the number of a queue of the device";
                return Err(queue.invalid("@id", what));
            }
            if !mapped.insert(number) {
                return Err(queue.invalid("@id", "another thread serves it; remove one"));
            }
            its.push(number);
        }
        with_queues |= !its.is_empty();
        without_queues |= its.is_empty();
        if !its.is_empty() {
            props.set("vqs", its);
        }
        mapping.push(Value::from(props));
    }
    let is_complete = u32::try_from(mapped.len()).ok() == queues;
    if with_queues && (without_queues || !is_complete) {
        return Err(list.invalid("", "either all queues or none have a thread; add the others"));
    }
    if view.has("driver") && view.text("driver@iothread").is_some() {
        return Err(list.invalid("", "the driver has one thread for all queues; remove it"));
    }
    Ok((!mapping.is_empty()).then_some(Value::Array(mapping)))
}

fn missing(view: View<'_>, place: &str, number: u32) -> Error {
    view.invalid(place, format!("the guest has no I/O thread {number}; add it to iothreadids"))
}

/// Returns the lowest numbers that are free, for threads that are only counted.
fn unnamed(cx: &Context<'_>, named: &BTreeSet<u32>) -> Result<Vec<u32>, Error> {
    let count: u32 = cx.domain.number("iothreads")?.unwrap_or(0);
    if count > MAX {
        return Err(cx.domain.invalid("iothreads", "there are too many; use a lower number"));
    }
    let missing = usize::try_from(count).unwrap_or(0).saturating_sub(named.len());
    Ok((1..).filter(|number| !named.contains(number)).take(missing).collect())
}

fn thread(cx: &Context<'_>, view: View<'_>, number: u32) -> Result<Props, Error> {
    let mut props = Props::object("iothread", name(number));
    if let Some(pool) = pool(cx, view)? {
        props.append(pool);
    }
    props.set_some("poll-max-ns", view.number::<u64>("poll@max")?);
    props.set_some("poll-grow", view.number::<u64>("poll@grow")?);
    props.set_some("poll-shrink", view.number::<u64>("poll@shrink")?);
    Ok(props)
}

/// Returns the limits of the number of workers, if any is set.
fn pool(cx: &Context<'_>, view: View<'_>) -> Result<Option<Props>, Error> {
    let min: Option<u32> = view.number("@thread_pool_min")?;
    let max: Option<u32> = view.number("@thread_pool_max")?;
    if min.is_none() && max.is_none() {
        return Ok(None);
    }
    if !cx.entry.schema().has("object-add/arg-type/+iothread/thread-pool-max").is_yes() {
        return Err(view.lacks("@thread_pool_max", "limits of thread pools; remove them"));
    }
    if max == Some(0) {
        return Err(view.invalid("@thread_pool_max", "it is 0; raise it"));
    }
    // Without a greatest number, the least one is compared with -1.
    if min.is_some_and(|min| max.is_none_or(|max| min > max)) {
        return Err(
            view.invalid("@thread_pool_min", "it is greater than thread_pool_max; lower it")
        );
    }
    let props = Props::default().with_some("thread-pool-min", min);
    Ok(Some(props.with_some("thread-pool-max", max)))
}
