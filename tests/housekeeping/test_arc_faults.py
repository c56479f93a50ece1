"""The ARC driver against the oddities of computing elements, and lost, late and wrong answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from arc_site import ArcSite
from certificates import Authority
from fake_arex import attributes
from far_machine import script_order
from pydantic import ValidationError

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    DriverError,
    ErrorClass,
    Found,
    JobOrder,
    JobRef,
    Outcome,
    Phase,
    Refused,
    Unclear,
)
from cmd_daemon.testing.driver_contract import outcomes, submitted, wait_until
from cmd_housekeeping.arc_driver import ArcDriver
from cmd_housekeeping.naming import ref_of
from cmd_housekeeping.settings import ArcSettings
from cmd_housekeeping.xrsl import quoted
from cmd_local.orders import BadOrder

DEADLINE_S = 30.0


@contextlib.asynccontextmanager
async def running(site: ArcSite, **changes: Any) -> AsyncIterator[ArcDriver]:
    """A started driver that is stopped at the end."""
    driver = await site.driver(**changes)
    try:
        yield driver
    finally:
        await driver.stop()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something outside to become true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 the outside world sets no events
            await asyncio.sleep(0.02)


async def outcome_of(driver: ArcDriver, order: JobOrder) -> Outcome:
    """Run one order to its end."""
    refs = await submitted(driver, [order])
    return (await outcomes(driver, refs, DEADLINE_S))[order.key]


async def refusal(driver: ArcDriver, order: JobOrder) -> Refused:
    """The refusal of an order."""
    (answer,) = await driver.submit([order])
    assert isinstance(answer, Refused), answer
    return answer


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("credential", ["certificate", "token"])
async def test_both_versions_and_both_credentials(
    tmp_path: Path, version: int, credential: str
) -> None:
    site = ArcSite(tmp_path, version)
    await site.start()
    script = """#!/bin/sh
echo "$CMD_GROUP $1 $2 $EXTRA"
echo '{"warmed": 12}'
"""
    params = {"args": ["{campaign}:{attempt}", "it's $HOME"], "env": {"EXTRA": "{output_run}"}}
    order = script_order(script, params=params, output_run='u/"r"')
    with_token = {"cert": None, "key": None, "token_file": site.token_file}
    changes = with_token if credential == "token" else {}
    try:
        async with running(site, **changes) as driver:
            outcome = await outcome_of(driver, order)
            assert outcome.ok, outcome
            assert outcome.extra["result"] == {"warmed": 12}
            assert outcome.started_at is not None
            log = site.host.state_dir / "arc" / "FAR" / ref_of(order.key) / "log.txt"
            assert f'{order.group} camp:1 it\'s $HOME u/"r"' in log.read_text()
        await until(lambda: not site.arex.jobs)
        spoken = "/rest/1.1/" if version == 7 else "/rest/1.0/"
        assert any(spoken in request for request in site.arex.requests)
    finally:
        await site.arex.stop()


@pytest.mark.parametrize("version", [6, 7])
async def test_a_credential_that_is_not_accepted(tmp_path: Path, version: int) -> None:
    site = ArcSite(tmp_path, version)
    await site.start()
    site.token_file.write_text("an-old-token")
    try:
        with pytest.raises(DriverError) as caught:
            await site.driver(cert=None, key=None, token_file=site.token_file)
        if version == 6:
            assert caught.value.error_class is ErrorClass.PERMANENT
            assert "is our token valid" in str(caught.value)
        else:
            assert caught.value.error_class is ErrorClass.TRANSIENT
            assert "does not accept the credential" in str(caught.value)
    finally:
        await site.arex.stop()


async def test_a_renewed_token_is_taken_without_a_restart(site: ArcSite) -> None:
    async with running(site, cert=None, key=None, token_file=site.token_file) as driver:
        site.arex.token = "another"
        with pytest.raises(DriverError):
            await driver.observe([JobRef("a/b/c/d#1", "job")])
        site.token_file.write_text("another")
        assert (await outcome_of(driver, script_order("echo renewed\n"))).ok
        site.token_file.write_text("")
        assert (await refusal(driver, script_order("echo empty\n"))).error_class is (
            ErrorClass.PERMANENT
        )


async def test_an_untrusted_server_and_missing_files(site: ArcSite, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "Other CA")
    for changes, words in (
        ({"ca": other.file}, "does not vouch for"),
        ({"ca": tmp_path / "no.pem"}, "cannot be read"),
        ({"key": other.issue("stranger")[1]}, "cannot be used"),
    ):
        with pytest.raises(DriverError, match=words) as caught:
            await site.driver(**changes)
        assert caught.value.error_class is ErrorClass.PERMANENT
    with pytest.raises(ValidationError):
        ArcSettings(url="http://ce/arex", ca=site.authority.file, cert=site.cert)
    with pytest.raises(ValidationError, match="either"):
        ArcSettings(url="https://ce/arex", ca=site.authority.file)


async def test_an_unreachable_element_is_transient(site: ArcSite) -> None:
    async with running(site) as driver:
        await site.arex.stop()
        await driver._arex.close()
        answer = await refusal(driver, script_order("echo never\n"))
        assert answer.error_class is ErrorClass.TRANSIENT, "nothing was sent"


async def test_a_lost_submission_is_absent_only_when_it_cannot_arrive(site: ArcSite) -> None:
    order = script_order("echo lost\n")
    async with running(site, settle_s=60.0) as driver:
        site.arex.broken = True  # answered 500: nobody knows
        assert (await refusal(driver, order)).error_class is ErrorClass.UNKNOWN
        site.arex.broken = False
    async with running(site, settle_s=60.0) as driver:  # also after a restart
        (answer,) = await driver.find([order.key])
        assert isinstance(answer, Unclear), answer
        assert (await refusal(driver, order)).error_class is ErrorClass.NOT_YET
        site.host.clock.advance(61.0)
        assert list(await driver.find([order.key])) == [Absent(order.key)]
        assert (await outcome_of(driver, order)).ok
        assert site.arex.runs == {order.key: 1}


async def test_names_not_told_yet_are_no_proof_of_absence(site: ArcSite) -> None:
    async with running(site) as one:
        await submitted(one, [script_order("sleep 600\n")])
        site.host = type(site.host)(site.root / "another-state")  # our notes are lost
        site.arex.hide_names = True
        async with running(site) as driver:
            (answer,) = await driver.find(["camp/step/9999/before-1#1"])
            assert isinstance(answer, Unclear), answer
            site.arex.hide_names = False
            (answer,) = await driver.find(["camp/step/9999/before-1#1"])
            assert isinstance(answer, Absent), answer


async def test_a_job_is_adopted_when_our_notes_are_lost(site: ArcSite) -> None:
    order = script_order("echo adopted\n")
    async with running(site) as driver:
        (answer,) = await driver.submit([order])
        assert isinstance(answer, Accepted)
    site.host = type(site.host)(site.root / "another-state")
    async with running(site) as driver:
        assert list(await driver.find([order.key])) == [Found(order.key, answer.ref)]
        assert (await outcome_of(driver, order)).ok
        assert site.arex.runs == {order.key: 1}


async def test_of_jobs_with_one_name_the_oldest_is_adopted_and_all_are_told(site: ArcSite) -> None:
    order = script_order("sleep 600\n")
    rsl = (
        f'&(executable="run.sh")(jobname="{order.key}")(inputfiles=("run.sh" ""))(stdout="log.txt")'
    )
    first, second = site.arex.add(rsl), site.arex.add(rsl)
    async with running(site) as driver:
        refs = await submitted(driver, [order])
        assert refs == [JobRef(order.key, first.id)]
        (seen,) = await driver.observe(refs)
        assert second.id in seen.message
        await driver.cancel(refs)
        outcome = (await outcomes(driver, refs, DEADLINE_S))[order.key]
        assert outcome.extra["duplicates"] == [second.id]


async def test_an_upload_that_failed_is_done_again(site: ArcSite) -> None:
    order = script_order("echo uploaded\n")
    site.arex.no_uploads = True
    async with running(site) as driver:
        refs = await submitted(driver, [order])
        (seen,) = await driver.observe(refs)
        assert seen.phase is Phase.QUEUED
        assert "not uploaded yet" in seen.message
    site.arex.no_uploads = False
    async with running(site) as driver:
        assert (await outcomes(driver, refs, DEADLINE_S))[order.key].ok


async def test_states_that_lag_and_kills_that_take_long(site: ArcSite) -> None:
    site.arex.lag_s, site.arex.kill_s = 0.4, 0.4
    quick, long = script_order("echo quick\n"), script_order("sleep 600\n")
    async with running(site) as driver:
        refs = await submitted(driver, [quick, long])
        await until(lambda: site.arex.runs[long.key])
        assert (await driver.cancel(refs[1:]))[0].done
        ended = await outcomes(driver, refs, DEADLINE_S)
        assert ended[quick.key].ok
        assert (ended[long.key].ok, ended[long.key].message) == (False, "cancelled")
        assert ended[long.key].extra["state"] == "KILLED"


async def test_a_job_killed_by_somebody_else_may_be_tried_again(site: ArcSite) -> None:
    order = script_order("sleep 600\n")
    async with running(site) as driver:
        refs = await submitted(driver, [order])
        await until(lambda: site.arex.runs[order.key])
        await driver._arex.act("kill", [refs[0].ref])
        outcome = (await outcomes(driver, refs, DEADLINE_S))[order.key]
        assert outcome.error_class is ErrorClass.TRANSIENT
        assert "somebody else" in outcome.message


async def test_a_script_that_fails_and_one_that_takes_too_long(site: ArcSite) -> None:
    failing = script_order("echo no such tape\nexit 3\n")
    slow = script_order("trap '' TERM\nwhile true; do sleep 0.1; done\n", walltime_s=1.0)
    async with running(site) as driver:
        refs = await submitted(driver, [failing, slow])
        ended = await outcomes(driver, refs, DEADLINE_S)
    assert ended[failing.key].exit_code == 3
    assert ended[failing.key].message == (
        "the script ended with exit code 3; its last lines: no such tape"
    )
    assert "not done after the time it was allowed" in ended[slow.key].message


async def test_a_success_without_the_scripts_own_word_is_none(site: ArcSite) -> None:
    order = script_order("mkdir exit.json\n")  # so that the end cannot be written down
    async with running(site) as driver:
        outcome = await outcome_of(driver, order)
        assert not outcome.ok
        assert "without a word of the script's end" in outcome.message


async def test_a_long_log_comes_whole_though_the_connection_breaks(site: ArcSite) -> None:
    order = script_order("yes line | head -c 5000000\n")
    site.arex.cut_downloads = 2
    async with running(site) as driver:
        refs = await submitted(driver, [order])
        assert (await outcomes(driver, refs, DEADLINE_S))[order.key].ok
        data = b"".join([c.data async for c in driver.read_log(refs[0], "", 0, follow=True)])
        assert data == (b"line\n" * 1_000_000)
        last = [c async for c in driver.read_log(refs[0], "", -5, follow=False)]
        assert (last[-1].data, last[-1].end) == (b"line\n", True)


async def test_a_running_job_can_be_read(site: ArcSite) -> None:
    order = script_order(
        f"echo one\nwhile [ ! -e {site.root}/go ]; do sleep 0.05; done\necho two\n"
    )
    async with running(site) as driver:
        refs = await submitted(driver, [order])
        await wait_until(driver, refs, {Phase.RUNNING}, DEADLINE_S)
        data = b""
        async with asyncio.timeout(DEADLINE_S):
            async for chunk in driver.read_log(refs[0], "log.txt", 0, follow=True):
                data += chunk.data
                if data == b"one\n":
                    (site.root / "go").touch()
                    await outcomes(driver, refs, DEADLINE_S)
        assert data == b"one\ntwo\n"


async def test_one_call_for_all(site: ArcSite) -> None:
    orders = [script_order("echo many\n") for _ in range(12)]
    async with running(site) as driver:
        site.arex.requests.clear()
        refs = await submitted(driver, orders)
        posted = [each for each in site.arex.requests if each.endswith("new")]
        assert len(posted) == 1
        site.arex.requests.clear()
        await driver.observe(refs)
        assert len([each for each in site.arex.requests if each.endswith("status")]) == 1
        await outcomes(driver, refs, DEADLINE_S)
    assert site.arex.runs == {order.key: 1 for order in orders}


async def test_slots_and_bad_orders(site: ArcSite) -> None:
    async with running(site, slots=1, scripts_dir=site.root) as driver:
        long = script_order("sleep 600\n")
        refs = await submitted(driver, [long])
        assert (await refusal(driver, script_order("echo\n"))).error_class is ErrorClass.NOT_YET
        await driver.cancel(refs)
        await outcomes(driver, refs, DEADLINE_S)
        answer = await refusal(driver, script_order("no-such.sh"))
        assert answer.error_class is ErrorClass.PERMANENT
        assert "is missing in" in answer.message


def test_names_are_quoted_so_that_nothing_escapes() -> None:
    evil = 'x")(executable="/bin/rm")(y="$(HOME)(*'
    told = attributes(f"&(jobname={quoted(evil)})(count={quoted('1')})")
    assert told == {"jobname": [evil], "count": ["1"]}
    with pytest.raises(BadOrder):
        quoted("two\nlines")
