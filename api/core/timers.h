/* How long core waits for whom, in one place. */
#ifndef API_CORE_TIMERS_H
#define API_CORE_TIMERS_H

#define START_MS 30000u        /* tap, cage, vmm and V_BOOT together */
#define START_HOLD_MS 10000u   /* a booting guest keeps its start place at most this long */
#define ADOPT_MS 3000u         /* a living vmm says hello at once */
#define LAST_WORDS_MS 300u     /* jail tells how the process ended */
#define STOP_AGENT_MS 15000u   /* the guest shuts down … */
#define STOP_QUIT_MS 3000u     /* … vmm ends itself … */
#define STOP_KILL_MS 5000u     /* … jail kills it */
#define STOP_ALL_MS 45000u     /* the daemon as a whole */
#define AGENT_GROW_MS 120000u
#define AGENT_ASK_MS 10000u
#define FORK_FIX_MS 60000u      /* a fork makes itself another machine: keys of SSH take their time */
#define FORK_READY_MS 300000u   /* its first boot as a whole */
#define USERDATA_POLL_MS 200u
#define GATHER_MS 1000u        /* counters of all VMs; who is later is left out */
#define CREATE_WAIT_MS 300000u /* `timeout` of a create that gave none */
#define TOKEN_LOOK_MS 60000u   /* the clock may be set: tokens' ends are looked at this often while one has an end */

#endif
