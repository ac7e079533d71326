-- What a failed row means for the rest of its step, its block and its plan.

-- Who failed: the row's target, or its whole batch when it failed before it had rows.
create function failed_targets(s steps) returns text[] language sql immutable as $$
    select case
        when s.target is not null then array[s.target ->> 'name']
        when s.template -> 'batch' is not null and s.template -> 'batch' <> '[]'
            then array(select jsonb_array_elements_text(s.template -> 'batch'))
        else array['#' || s.id]
    end
$$;

-- How many failures are new, and how many there are now: of a block's targets, each counted once,
-- or of a step's rows.
create function count_failure(s steps, out v_new int, out v_failed int) language plpgsql as $$
begin
    v_new := 1;
    if s.block is not null then
        insert into dropouts (execution_id, block, target, key)
        select s.execution_id, s.block, name, s.key from unnest(failed_targets(s)) name
        on conflict do nothing;
        get diagnostics v_new = row_count;
    end if;
    insert into failure_counts as c (execution_id, block, position, failed)
    values (s.execution_id, coalesce(s.block, 0),
            case when s.block is null then s.position else 0 end, v_new)
    on conflict on constraint pk_failure_counts do update set failed = c.failed + excluded.failed
    returning c.failed into v_failed;
end $$;

-- Whether the row's step or block had more failures than it bears.
create function is_given_up(s steps) returns boolean language sql stable as $$
    select exists (
        select from failure_counts c
        where c.execution_id = s.execution_id and c.block = coalesce(s.block, 0)
          and c.position = case when s.block is null then s.position else 0 end
          and c.failed > s.max_failures)
$$;

-- What a failure that is not borne means for the main part: it goes on, it stops, or it stops and
-- what it did is reversed. A step of a block says so, too, but for one that stands for its block.
create function end_main(e executions, s steps) returns executions language plpgsql as $$
declare
    v_word text := coalesce(s.block_on_failure, s.on_failure);
begin
    if s.on_failure = 'undo' and not coalesce(s.template ? 'block', false) then
        v_word := 'undo';
    end if;
    if v_word = 'continue' or s.stage >= e.finally_stage or s.undoes is not null then
        return e;
    end if;
    e.stopping := true;
    if v_word = 'undo' and e.undo_stage is null and s.stage >= e.cancel_below then
        return plan_undo(e, e.finally_stage);
    end if;
    return e;
end $$;

-- What has not begun of the step, or of its block, is skipped; the plan goes on or stops.
create function give_up(e executions, s steps, p_summary text) returns executions
language plpgsql as $$
begin
    if s.block is null then
        e := close_unstarted(e, s.stage, s.stage + 1, 'skipped', '{pending,due,waiting,queued}',
                             p_summary, null, s.position);
    else
        e := close_unstarted(e, s.stage, e.stages, 'skipped', '{pending,due,waiting,queued}',
                             p_summary, s.block);
    end if;
    return end_main(e, s);
end $$;

create function bear_failure(e executions, s steps) returns executions language plpgsql as $$
declare
    v_new int; v_failed int;
begin
    e.failed := e.failed + 1;
    if s.template ? 'block' then return give_up(e, s, 'its block could not begin'); end if;
    if s.block is null and s.max_failures is null then
        return end_main(e, s);
    end if;
    if s.block is not null and s.on_failure = 'continue' then return e; end if;
    select * into v_new, v_failed from count_failure(s);
    if v_failed > s.max_failures and v_failed - v_new <= s.max_failures then
        return give_up(e, s, format('not begun: %s failed, at most %s may', v_failed,
                                    s.max_failures));
    end if;
    return e;
end $$;
