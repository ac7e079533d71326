-- Nobody but their owner may call these. A role of its own for a domain's workers needs
-- claim_step, heartbeat, arm_step, finish_step, retry_step, interrupt_step, release_step, probe_step,
-- unsend_steps, unsend_queue, get_secret and get_credential, and nothing of the tables behind them.
revoke execute on all functions in schema public from public;
