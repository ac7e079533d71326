-- The dead-letter desk: rows that failed, or whose outcome nobody knows, until somebody says what
-- becomes of them.

-- Whether a failed row is one that stops its plan.
create function is_fatal(s steps) returns boolean language sql stable as $$
    select case
        when s.block is null and s.max_failures is null then s.on_failure <> 'continue'
        else (s.block is null or s.on_failure <> 'continue')
             and (coalesce(s.block_on_failure, s.on_failure) <> 'continue'
                  or s.on_failure = 'undo')
             and is_given_up(s)
    end
$$;

-- The reverse of count_failure. A target on which another row failed stays left out.
create function uncount_failure(s steps) returns void language plpgsql as $$
declare
    v_gone int := 1;
begin
    if s.block is not null and s.on_failure = 'continue' then return; end if;  -- never counted
    if s.block is not null then
        delete from dropouts d
        where d.execution_id = s.execution_id and d.block = s.block
          and d.target = any (failed_targets(s)) and not exists (
              select from steps o
              where o.execution_id = s.execution_id and o.block = s.block and o.id <> s.id
                and o.state = 'failed' and o.on_failure <> 'continue'
                and d.target = any (failed_targets(o)));
        get diagnostics v_gone = row_count;
    end if;
    update failure_counts set failed = failed - v_gone
    where execution_id = s.execution_id and block = coalesce(s.block, 0)
      and position = case when s.block is null then s.position else 0 end;
end $$;

-- The rows that begin anew with a failed one: those that were skipped behind it, unless something
-- else stops the plan; of a reversal, those that were left out for it.
create function rows_behind(e executions, s steps) returns bigint[] language sql stable as $$
    select array(
        select o.id from steps o
        where o.execution_id = e.id and o.stage >= s.stage and o.state = 'skipped'
          and case when s.undoes is null
              then o.undoes is null and o.reason is distinct from 'resolved' and not exists (
                  select from steps f
                  where f.execution_id = e.id and f.state = 'failed' and f.id <> s.id
                    and f.stage < e.finally_stage and is_fatal(f))
              else o.undoes > 0 and o.reason = 'stopped' end)
$$;

-- Run one failed or interrupted row again, by a person's word. Null: there is no such row.
create function requeue_step(
    p_tenant text, p_step bigint, p_actor text, p_reason text, p_send int,
    p_from text default null
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps; v_why text;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step and tenant = p_tenant)
    for update;
    if not found then return null; end if;
    select * into s from steps where id = p_step for update;
    if not found then return null; end if;
    if s.state = 'interrupted' then
        return resolve_step(e.id, p_step, 'retry', p_actor, p_reason, p_send, p_from);
    end if;
    v_why := case when s.state <> 'failed' then 'state' else refuse_resume(e) end;
    if v_why = 'undone' and s.undoes is not null then v_why := null; end if;
    if v_why is not null then
        return jsonb_build_object('accepted', false, 'state', s.state, 'why', v_why,
                                  'execution_state', e.state);
    end if;
    if s.undoes is null then e := forget_undo(e); end if;
    perform uncount_failure(s);
    perform begin_anew(s.id || rows_behind(e, s));
    perform tell(s.tenant, e.id, s.id, 'step.requeued', p_actor,
                 step_facts(s) || jsonb_build_object('why', p_reason, 'from', p_from));
    return go_on(e, s.stage - 1, p_actor, jsonb_build_object(
        'reason', p_reason, 'from', p_from, 'step_id', s.id), p_send);
end $$;

-- Somebody knows of a failed row and wants no more of it. Null: there is no such row.
create function discard_step(
    p_tenant text, p_step bigint, p_actor text, p_reason text, p_from text default null
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    s steps;
begin
    select * into s from steps where id = p_step and tenant = p_tenant for update;
    if not found then return null; end if;
    if s.state <> 'failed' or s.discarded_at is not null then
        return jsonb_build_object('accepted', false, 'state', s.state,
                                  'discarded', s.discarded_at is not null);
    end if;
    update steps set discarded_at = clock_timestamp() where id = s.id;
    perform tell(s.tenant, s.execution_id, s.id, 'step.discarded', p_actor,
                 step_facts(s) || jsonb_build_object('why', p_reason, 'from', p_from));
    return jsonb_build_object('accepted', true, 'state', s.state);
end $$;
