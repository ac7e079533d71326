-- What a person says of a step whose outcome nobody saw; and what a person starts again.

-- What there is to know about a row: when it may have acted, the last lines that it wrote, and
-- results that came too late to count.
create function step_evidence(s steps) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'attempt', s.attempt, 'worker', s.worker, 'started_at', s.started_at, 'armed_at', s.armed,
        'reason', s.reason, 'last_output_at', o.at, 'lines', coalesce(o.lines, '[]'),
        'probe', case when s.repeat = 'probe' then probe_evidence(s) end,
        'late', coalesce((
            select jsonb_agg(v.data || jsonb_build_object('at', v.at) order by v.id)
            from events v
            where v.execution_id = s.execution_id and v.step_id = s.id and v.kind = 'result.late'),
            '[]'))
    from (values (1)) as one left join lateral (
        select c.at, c.lines from output_chunks c
        where c.execution_id = s.execution_id and c.step_id = s.id order by c.id desc limit 1
    ) o on true
$$;

-- Back to the queue, as if it had not begun, by word of `p_actor`.
create function requeue(e executions, s steps, p_actor text, p_more jsonb, p_send int) returns jsonb
language plpgsql as $$
begin
    if s.state = 'interrupted' then e.interrupted := e.interrupted - 1; end if;
    update steps set state = 'queued', token = null, sent_at = null, armed = null, reason = null,
        not_before = null, queued_at = clock_timestamp()
    where id = s.id;
    perform tell(s.tenant, s.execution_id, s.id, 'step.queued', p_actor, step_facts(s) || p_more);
    e := keep(e);
    perform tell_freed(s);
    return send_next(e, null, s.id - 1, least(p_send, 1))
        || jsonb_build_object('accepted', true, 'execution_state', e.state);
end $$;

-- A person says how an interrupted row ended: succeeded, failed, skipped, or that it may run again
-- (retry). Null: there is no such row. Skipping what a cancel covers cancels it.
create function resolve_step(
    p_execution uuid, p_step bigint, p_as text, p_actor text, p_reason text, p_send int,
    p_from text default null
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps; v_told jsonb; v_evidence jsonb;
begin
    select * into e from executions where id = p_execution for update;
    select * into s from steps where id = p_step and execution_id = p_execution for update;
    if not found then return null; end if;
    if s.state <> 'interrupted' or (p_as = 'retry' and s.stage < e.cancel_below) then
        return jsonb_build_object('accepted', false, 'state', s.state,
                                  'cancelled', s.stage < e.cancel_below);
    end if;
    v_evidence := step_evidence(s);
    v_told := jsonb_build_object(
        'resolved', jsonb_build_object('as', p_as, 'why', p_reason, 'from', p_from,
                                       'evidence', v_evidence - 'lines'),
        'lines', v_evidence -> 'lines');
    if p_as = 'retry' then return requeue(e, s, p_actor, v_told, p_send); end if;
    -- Without a token what its worker still says is known to be late.
    update steps set token = null where id = p_step;
    return settle(
        p_step, null, '{interrupted}',
        case when p_as = 'skipped' and s.stage < e.cancel_below then 'cancelled' else p_as end,
        'resolved',
        coalesce(s.result, '{}') || jsonb_build_object(
            'summary', format('%s says %s: %s', p_actor, p_as, p_reason)),
        null, p_send, p_actor, v_told);
end $$;

-- These rows are to run once more, as if they never had; how many they are.
create function begin_anew(p_ids bigint[]) returns int language sql as $$
    with anew as (
        update steps set state = 'pending', run = run + 1, attempt = 0, token = null,
            heartbeats = 0, armed = null, worker = null, queued_at = null, sent_at = null,
            not_before = null, blocked_by = null, started_at = null, finished_at = null,
            reason = null, result = null, discarded_at = null
        where id = any (p_ids)
        returning 1
    )
    select count(*)::int from anew
$$;

-- An execution that had ended goes on with what is pending behind a stage, by a person's word.
create function go_on(e executions, p_stage int, p_actor text, p_more jsonb, p_send int)
returns jsonb language plpgsql as $$
begin
    update executions set run = run + 1,
        deadline = clock_timestamp() + make_interval(secs => timeout_s)
    where id = e.id returning run into e.run;
    select count(*) filter (where state = 'cancelled'), count(*) filter (where state = 'failed')
    into e.cancelled, e.failed from steps where execution_id = e.id;
    e.stage := p_stage;
    e.stage_open := 0;
    e.stopping := false;
    e.cancel_below := 0;
    e.cancel_requested_at := null;
    e.cancelled_by := null;
    e.cancel_reason := null;
    e.finished_at := null;
    perform tell(e.tenant, e.id, null, 'execution.resumed', p_actor,
                 p_more || jsonb_build_object('run', e.run));
    e := keep(advance(e, p_send));
    return send_next(e, null, 0, p_send)
        || jsonb_build_object('accepted', true, 'state', e.state);
end $$;

-- Why an execution does not go on where it stopped; null: it may.
create function refuse_resume(e executions) returns text language sql stable as $$
    select case
        when e.finished_at is null then 'not_final'
        when exists (select from approvals where execution_id = e.id and decision <> 'approved')
            then 'not_approved'
        when exists (select from steps where execution_id = e.id and undoes > 0
                                         and state <> 'skipped') then 'undone'
    end
$$;

-- Start a failed or cancelled execution again where it first failed: what failed, was cancelled or
-- skipped from there on is to run once more; what succeeded is not. `p_only_failed`: on the targets
-- that failed, and what acts on none. What was not approved stays so. Null: there is no such
-- execution.
create function resume_execution(
    p_execution uuid, p_only_failed boolean, p_actor text, p_reason text, p_send int,
    p_from text default null
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; v_from int; v_names text[]; v_rows int; v_why text;
begin
    select * into e from executions where id = p_execution for update;
    if not found then return null; end if;
    select min(stage), array_agg(target ->> 'name') filter (where state = 'failed')
    into v_from, v_names
    from steps where execution_id = e.id and state in ('failed', 'cancelled');
    v_why := coalesce(refuse_resume(e), case
        when v_from is null then 'succeeded'
        when p_only_failed and v_names is null then 'nothing_failed' end);
    if v_why is not null then
        return jsonb_build_object('accepted', false, 'state', e.state, 'why', v_why);
    end if;
    e := forget_undo(e);
    v_rows := begin_anew(array(
        select id from steps
        where execution_id = e.id and stage >= v_from
          and (state in ('failed', 'cancelled')
               or (state = 'skipped' and reason is distinct from 'resolved'))
          and (not p_only_failed or state = 'failed' or target is null
               or target ->> 'name' = any (v_names))));
    delete from failure_counts where execution_id = e.id;
    delete from dropouts where execution_id = e.id;
    return go_on(e, v_from - 1, p_actor, jsonb_build_object(
        'reason', p_reason, 'from', p_from, 'only_failed', p_only_failed, 'rows', v_rows), p_send);
end $$;
