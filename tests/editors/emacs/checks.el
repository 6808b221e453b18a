;;; checks.el --- What a user of Emacs does with a program  -*- lexical-binding: t; -*-

;;; Commentary:

;; Done to a real Emacs; `run' starts it.

;;; Code:

(require 'ert)
(require 'eglot)
(require 'imenu)
(require 'np-mode)
(require 'xref)

(defconst np-checks-project (file-truename (getenv "PROJECT")) "A copy of the project.")
(defconst np-checks-checkout (getenv "CHECKOUT") "Where the examples and the grammar are.")

;;; Helpers

(defun np-checks-wait (what condition)
  "Wait until CONDITION gives something, and give it; WHAT is what is waited for."
  (let ((deadline (+ (float-time) 20)) result)
    (while (not (setq result (funcall condition)))
      (when (> (float-time) deadline) (error "Waited in vain for %s" what))
      ;; Eglot sends it as soon as nothing is typed; without a window nothing ever is.
      (when (eglot-managed-p) (eglot--signal-textDocument/didChange))
      (accept-process-output nil 0.05))
    result))

(defun np-checks-open (name)
  "Open the file NAME of the project as it is on the disk, with the server."
  (let ((file (expand-file-name name np-checks-project)))
    (when-let ((known (get-file-buffer file)))
      (with-current-buffer known (revert-buffer t t t)))
    (switch-to-buffer (find-file-noselect file))
    (unless (eglot-current-server)
      ;; `eglot-ensure' starts it after the command; there is no command here.
      (apply #'eglot (eglot--guess-contact)))
    (np-checks-wait "the server" #'eglot-managed-p)
    ;; Flymake starts after the command, too.
    (flymake-start)
    (goto-char (point-min))))

(defun np-checks-at (word &optional ahead)
  "Go to WORD, behind AHEAD where that is given."
  (goto-char (point-min))
  (when ahead (search-forward ahead))
  (search-forward word)
  (goto-char (match-beginning 0)))

(defun np-checks-line (number)
  "Give the line NUMBER."
  (save-excursion
    (goto-char (point-min))
    (forward-line (1- number))
    (buffer-substring-no-properties (line-beginning-position) (line-end-position))))

(defun np-checks-answers (method &optional more)
  "Give what the server says to METHOD at the cursor, with MORE parameters."
  (jsonrpc-request (eglot-current-server) method
                   (append (eglot--TextDocumentPositionParams) more)))

(defmacro np-checks-with (text &rest body)
  "Do BODY in a buffer of `np-mode' with TEXT, highlighted."
  (declare (indent 1))
  `(with-temp-buffer
     (insert ,text)
     (let ((np-mode-hook nil)) (np-mode))
     (font-lock-ensure)
     ,@body))

(defun np-checks-face (word)
  "Give the face of WORD's first character."
  (np-checks-at word)
  (get-text-property (point) 'face))

(defun np-checks-errors ()
  "Give the errors that Flymake shows."
  (seq-filter (lambda (found) (eq (flymake-diagnostic-type found) 'eglot-error)) (flymake-diagnostics)))

;;; Without a server

(ert-deftest np-checks-mode ()
  (let ((np-mode-hook nil))
    (with-current-buffer (find-file-noselect (expand-file-name "shop/sets.np" np-checks-project))
      (should (eq major-mode 'np-mode))
      (kill-buffer))))

(defconst np-checks-text
  (string-join
   '("//! File" "/// Item" "//// Plain" "let kube-dns = pods { env = \"a \\\" b\", tier in (x) } in namespace tools"
     "policy shop for all pods in all namespaces {" "  allow egress to kube-dns on tcp/53 // \"no string"
     "  deny egress to 10.0.0.0/8" "}" "assert deny web -> db-allow")
   "\n"))

(ert-deftest np-checks-faces ()
  (np-checks-with np-checks-text
    (pcase-dolist (`(,word . ,face)
                   '(("File" . font-lock-doc-face) ("Item" . font-lock-doc-face)
                     ("Plain" . font-lock-comment-face) ("let" . font-lock-keyword-face)
                     ("kube-dns =" . font-lock-type-face) ("env" . font-lock-variable-name-face)
                     ("tier" . font-lock-variable-name-face) ("in (" . font-lock-keyword-face)
                     ("\"a" . font-lock-string-face) ("b\"," . font-lock-string-face)
                     ("tools" . font-lock-constant-face) ("policy" . font-lock-keyword-face)
                     ("shop" . font-lock-function-name-face) ("allow egress" . font-lock-builtin-face)
                     ("tcp/53" . font-lock-constant-face) ("\"no string" . font-lock-comment-face)
                     ("10.0.0.0/8" . font-lock-constant-face) ("db-allow" . nil)))
      (should (equal (cons word (np-checks-face word)) (cons word face))))))

(ert-deftest np-checks-keywords ()
  "Every keyword of the grammar is shown as one."
  (let (words)
    (with-temp-buffer
      (insert-file-contents (expand-file-name "grammar/np.ebnf" np-checks-checkout))
      (goto-char (point-min))
      (search-forward "*)")
      (while (re-search-forward "\"\\([a-z]+\\)\"" nil t)
        (cl-pushnew (match-string 1) words :test #'equal)))
    (should (>= (length words) 35))
    (dolist (word words)
      (np-checks-with (concat word " ")
        (should (memq (np-checks-face word) '(font-lock-keyword-face font-lock-builtin-face)))))))

(ert-deftest np-checks-comments ()
  (np-checks-with "allow egress to 10.0.0.0/8"
    (comment-region (point-min) (point-max))
    (should (equal (buffer-string) "// allow egress to 10.0.0.0/8"))
    (uncomment-region (point-min) (point-max))
    (should (equal (buffer-string) "allow egress to 10.0.0.0/8"))))

(ert-deftest np-checks-symbols-of-text ()
  (np-checks-with "kube-dns tcp/53 // note"
    (goto-char (point-min))
    (should (equal (thing-at-point 'symbol) "kube-dns"))
    (search-forward "tcp")
    (should (equal (thing-at-point 'symbol) "tcp/53"))))

(ert-deftest np-checks-indentation ()
  "Every example, with its indentation taken away, gets it again."
  (let ((files (directory-files-recursively (expand-file-name "examples" np-checks-checkout) "\\.np\\'")))
    (should (> (length files) 5))
    (dolist (file (cons (expand-file-name "indented/indented.np" np-checks-project) files))
      (np-checks-with (with-temp-buffer (insert-file-contents file) (buffer-string))
        (let ((expected (buffer-string)))
          (goto-char (point-min))
          (while (re-search-forward "^[ \t]+" nil t) (replace-match ""))
          (let ((inhibit-message t)) (indent-region (point-min) (point-max)))
          (should (equal (substring-no-properties (buffer-string))
                         (substring-no-properties expected))))))))

(ert-deftest np-checks-typed ()
  "Indentation as it is typed."
  (np-checks-with ""
    (electric-indent-local-mode 1)
    (dolist (character (append "policy a for b {\nisolate ingress\n}\n" nil))
      (let ((last-command-event character))
        (call-interactively (if (eq character ?\n) #'newline #'self-insert-command))))
    (should (equal (substring-no-properties (buffer-string)) "policy a for b {\n  isolate ingress\n}\n"))))

(ert-deftest np-checks-imenu-alone ()
  (np-checks-with "let a = b\naudit admin policy c for d {\n}\ntest \"e f\" {\n}\n"
    (should (equal (mapcar (lambda (group) (list (car group) (caadr group)))
                           (cdr (imenu--make-index-alist t)))
                   '(("Tests" "e f") ("Policies" "c") ("Sets" "a"))))))

(ert-deftest np-checks-tree-sitter ()
  (skip-unless (and (fboundp 'treesit-available-p) (treesit-available-p)))
  (let ((treesit-extra-load-path (list (getenv "GRAMMAR"))))
    (skip-unless (treesit-language-available-p 'np))
    (with-temp-buffer
      (insert "let admin = pods { in = web, env = \"a\\\"\" } in namespace tools\n"
              "admin policy shop for admin {\n  allow egress to 10.0.0.0/8 on tcp/53\n}\n/// x\n// y\n")
      (np-ts-mode)
      (setq-local treesit-font-lock-level 4)
      (treesit-font-lock-recompute-features)
      (font-lock-ensure)
      (pcase-dolist (`(,word . ,face)
                     '(("let" . font-lock-keyword-face) ("admin =" . font-lock-type-face)
                       ("in = web" . font-lock-variable-name-face) ("web" . font-lock-string-face)
                       ("\"a" . font-lock-string-face) ("\\\"" . font-lock-escape-face)
                       ("tools" . font-lock-constant-face) ("admin policy" . font-lock-keyword-face)
                       ("shop" . font-lock-function-name-face) ("admin {" . nil)
                       ("allow" . font-lock-builtin-face) ("10.0.0.0/8" . font-lock-constant-face)
                       ("tcp/53" . font-lock-constant-face) ("/// x" . font-lock-doc-face)
                       ("// y" . font-lock-comment-face)))
        (should (equal (cons word (np-checks-face word)) (cons word face))))
      (np-checks-at "allow")
      (beginning-of-defun)
      (should (looking-at-p "admin policy")))))

;;; With the server

(ert-deftest np-checks-contact ()
  "The cluster of the project is told to the server."
  (np-checks-open "shop/policies.np")
  (should (equal (np--contact) '("npc" "lsp" :initializationOptions (:cluster "cluster.yaml")))))

(ert-deftest np-checks-diagnostics ()
  (np-checks-open "shop/policies.np")
  (let ((found (np-checks-wait "a warning" #'flymake-diagnostics)))
    (should (= (length found) 1))
    (should (string-match-p "NP0805" (flymake-diagnostic-text (car found))))
    (should (= (line-number-at-pos (flymake-diagnostic-beg (car found))) 14))
    (should (eq (flymake-diagnostic-type (car found)) 'eglot-warning))))

(ert-deftest np-checks-lock-file ()
  "The link by which Emacs locks a file is none of the program's files."
  (np-checks-open "locked/ports.np")
  (np-checks-wait "an error" #'np-checks-errors)
  (should (= (length (np-checks-errors)) 1)))

(ert-deftest np-checks-repair ()
  (np-checks-open "mistakes/ports.np")
  (np-checks-wait "an error" #'np-checks-errors)
  (np-checks-at "tcp:80")
  ;; Asked by a key; the first repair is taken.
  (cl-letf (((symbol-function 'completing-read) (lambda (_ choices &rest _) (caar choices)))
            ((symbol-function 'y-or-n-p) #'always)
            (last-nonmenu-event ?a))
    (call-interactively #'eglot-code-actions))
  (np-checks-wait "the edit" (lambda () (equal (np-checks-line 2) "      allow ingress from anywhere on tcp/80")))
  (np-checks-wait "no error" (lambda () (null (np-checks-errors))))
  (eglot-format-buffer)
  (should (equal (np-checks-line 2) "  allow ingress from anywhere on tcp/80"))
  (revert-buffer t t t))

(ert-deftest np-checks-imenu ()
  (np-checks-open "shop/policies.np")
  (should (eglot--server-capable :documentSymbolProvider))
  (let ((found (format "%S" (imenu--make-index-alist t))))
    (dolist (name '("sets.np" "shop" "no-metadata" "the shop finds its names"))
      (should (string-search name found)))))

(ert-deftest np-checks-completion ()
  (np-checks-open "shop/policies.np")
  (goto-char (point-max))
  (insert "policy typed for all pods in namespace shop {\n  allow egress to kube-\n}\n")
  (forward-line -1)
  (backward-char)
  (pcase-let ((`(,start ,end ,table . ,plist) (eglot-completion-at-point)))
    (should (equal (buffer-substring-no-properties start end) "kube-"))
    (should (member "kube-dns" (all-completions "kube-" table (plist-get plist :predicate)))))
  (completion-at-point)
  (should (equal (np-checks-line (1- (line-number-at-pos (point-max)))) "}"))
  (should (looking-back "allow egress to kube-dns" (line-beginning-position)))
  (revert-buffer t t t))

(ert-deftest np-checks-hover ()
  (np-checks-open "shop/policies.np")
  (np-checks-at "kube-dns on")
  (let (shown)
    (eglot-hover-eldoc-function (lambda (text &rest _) (when text (setq shown text))))
    (should (string-search "k8s-app" (np-checks-wait "what is told" (lambda () shown))))))

(ert-deftest np-checks-definition ()
  (np-checks-open "shop/policies.np")
  (np-checks-at "metadata on")
  (call-interactively #'xref-find-definitions)
  (should (equal (file-name-nondirectory buffer-file-name) "sets.np"))
  (should (looking-at-p "metadata = ")))

(ert-deftest np-checks-references ()
  (np-checks-open "shop/policies.np")
  (np-checks-at "metadata on")
  (let ((found (xref-backend-references 'eglot (xref-backend-identifier-at-point 'eglot))))
    (should (equal (sort (mapcar (lambda (item)
                                   (let ((place (xref-item-location item)))
                                     (format "%s:%s" (file-name-nondirectory (xref-location-group place))
                                             (xref-location-line place))))
                                 found)
                         #'string<)
                   '("policies.np:14" "policies.np:17" "policies.np:26" "sets.np:5")))))

(ert-deftest np-checks-rename ()
  (np-checks-open "shop/sets.np")
  (np-checks-open "shop/policies.np")
  (np-checks-at "metadata on")
  (let ((this-command 'eglot-rename))
    (eglot-rename "cloud-metadata"))
  (should (equal (np-checks-line 14) "  allow egress to anywhere except cloud-metadata on tcp/80"))
  (should (equal (np-checks-line 17)
                 "test \"ü 𝕟\" { namespace tools pod probe in tools deny tools/probe -> cloud-metadata }"))
  (should (equal (np-checks-line 26) "  deny  shop/web -> cloud-metadata"))
  (with-current-buffer (get-file-buffer (expand-file-name "shop/sets.np" np-checks-project))
    (should (equal (np-checks-line 5) "let cloud-metadata = 169.254.169.254/32"))
    (revert-buffer t t t))
  (revert-buffer t t t))

(ert-deftest np-checks-hints ()
  "Hints are shown where this Eglot has them, and told in any case."
  (np-checks-open "shop/policies.np")
  (let* ((head (list :range (list :start '(:line 5 :character 0) :end '(:line 6 :character 0))))
         (hints (np-checks-answers :textDocument/inlayHint head)))
    (should (equal (mapcar (lambda (hint) (plist-get hint :label)) hints) '("2 pods"))))
  (when (fboundp 'eglot-inlay-hints-mode)
    (eglot-inlay-hints-mode 1)
    (eglot--update-hints-1 (point-min) (point-max))
    (np-checks-wait "a hint"
                    (lambda ()
                      (seq-some (lambda (overlay)
                                  (string-search "2 pods" (or (overlay-get overlay 'before-string)
                                                              (overlay-get overlay 'after-string) "")))
                                (overlays-in (point-min) (point-max)))))))

(ert-deftest np-checks-commands ()
  (np-checks-open "shop/policies.np")
  (np-checks-at "allow egress")
  (save-window-excursion
    (np-show-yaml "networkpolicy")
    (with-current-buffer "*np YAML*"
      (should (string-search "kind: NetworkPolicy" (buffer-string)))))
  (save-window-excursion
    (call-interactively #'np-show-pods)
    (with-current-buffer "*np pods*"
      (should (equal (buffer-string) "shop/cart\nshop/web"))))
  (let (page)
    (cl-letf (((symbol-function 'browse-url-of-file) (lambda (file) (setq page file))))
      (np-show-reach))
    (with-temp-buffer
      (insert-file-contents page)
      (should (string-search "<html" (buffer-string)))))
  (let (said)
    (cl-letf (((symbol-function 'message) (lambda (&rest words) (setq said (apply #'format words)))))
      (np-run-tests))
    (should (equal said "2 tests pass"))))

(ert-deftest np-checks-failures ()
  "A test that fails is listed with its place; what is no program says why it has no YAML."
  (np-checks-open "shop/policies.np")
  (search-forward "deny  shop/web")
  (replace-match "allow shop/web")
  (np-run-tests)
  (with-current-buffer "*np tests*"
    (should (string-match-p "policies\\.np:26: " (buffer-string))))
  (search-backward "allow shop/web")
  (delete-region (point) (line-end-position))
  (insert "allow")
  (should-error (np-show-yaml "kyverno") :type 'user-error)
  (revert-buffer t t t))

;;; All

(defun np-checks-run ()
  "Run every check; say what failed, and how many did not."
  (let ((inhibit-message t)
        (failed 0) (passed 0) (left-out 0))
    (ert-run-tests
     t
     (lambda (event &rest rest)
       (when (eq event 'test-ended)
         (pcase-let ((`(,_ ,test ,result) rest))
           (cond ((ert-test-skipped-p result)
                  (cl-incf left-out))
                 ((ert-test-passed-p result)
                  (cl-incf passed))
                 (t
                  (cl-incf failed)
                  (princ (format "emacs: FAILED: %s\n%S\n" (ert-test-name test)
                                 (and (ert-test-result-with-condition-p result)
                                      (ert-test-result-with-condition-condition result))))))))))
    (princ (format "emacs %s: %d checks as expected%s%s\n" emacs-version passed
                   (if (> left-out 0) (format ", %d left out without tree-sitter" left-out) "")
                   (if (> failed 0) (format ", %d failed" failed) "")))
    (kill-emacs (if (> failed 0) 1 0))))

(provide 'checks)

;;; checks.el ends here
