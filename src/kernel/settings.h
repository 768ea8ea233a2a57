/*
 * settings.h
 *		The kernel's settings.
 */
#ifndef PYN_SETTINGS_H
#define PYN_SETTINGS_H

extern int	pyn_max_workers;
extern int	pyn_poll_interval;	/* ms */
extern int	pyn_idle_exit;		/* s */
extern int	pyn_handler_timeout;	/* ms */
extern int	pyn_max_attempts;
extern int	pyn_retry_delay;	/* ms */
extern int	pyn_retention;		/* s */
extern int	pyn_max_lag;		/* s */
extern int	pyn_lock_timeout;	/* ms */
extern bool pyn_trace;

extern void pyn_kernel_init(void);

#endif							/* PYN_SETTINGS_H */
